package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"cairn/internal/certs"
	"cairn/internal/config"
	"cairn/internal/handshake"
	"cairn/internal/listen"
	"cairn/internal/logging"
	"cairn/internal/metrics"
)

// security has the certificates of both ports.
type security struct {
	client, peer *certs.Source // nil where neither a port nor a connection needs one; peer also for a proxy's members
	failures     *certs.Failures
	// The turns of handshakes: separate ones, so that clients cannot delay members.
	clientTurns, peerTurns *handshake.Turns
	// peerName is the name for which other members' certificates must be valid, instead of their
	// hosts'; "" without one.
	peerName string
}

// fixturesDir is the directory of self-signed certificates, below the data directory, as in etcd.
const fixturesDir = "fixtures"

func newSecurity(log *slog.Logger) *security {
	return &security{
		failures:    certs.NewFailures(logging.For(log, "tls")),
		clientTurns: handshake.NewTurns(), peerTurns: handshake.NewTurns(),
	}
}

// loadSecurity reads the certificates in the flags. Those of --auto-tls do not exist yet:
// makeSelfSigned makes them, once the data directory is open.
func loadSecurity(cfg *config.Config, log *slog.Logger) (*security, error) {
	s := newSecurity(log)
	if cfg.PeerTLS.TrustedCAFile == "" {
		// Members found by SRV records whose certificates the system's authorities have signed: any
		// of these could sign one for another host, so the domain is what counts, as in etcd.
		s.peerName = cfg.Discovery.SRV
	}
	load := func(t *config.TLS, prefix string) (*certs.Source, error) {
		if t.Empty() && t.TrustedCAFile == "" && t.ClientCertFile == "" {
			return nil, nil //nolint:nilnil // there is nothing to load
		}
		o := t.Options
		o.Logger = logging.For(log, "tls")
		o.AdvertisedHosts = cfg.AdvertiseClientURLs.SecureHosts()
		if t == &cfg.PeerTLS {
			o.ServerName, o.AdvertisedHosts = s.peerName, cfg.InitialAdvertisePeerURLs.SecureHosts()
		}
		source, err := certs.New(o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", strings.Join(t.FileFlags(prefix), ", "), err)
		}
		return source, nil
	}
	var errClient, errPeer error
	if cfg.AnyClientURLSecure() {
		s.client, errClient = load(&cfg.ClientTLS, "")
	}
	if cfg.ListenPeerURLs.AnySecure() || cfg.AdvertisesSecurePeers() || !cfg.PeerTLS.Empty() {
		s.peer, errPeer = load(&cfg.PeerTLS, "peer-")
	}
	return s, errors.Join(errClient, errPeer)
}

// makeSelfSigned makes the certificates of --auto-tls and --peer-auto-tls.
func (s *security) makeSelfSigned(cfg *config.Config, log *slog.Logger) error {
	for _, p := range []struct {
		tls    *config.TLS
		urls   config.URLs
		source **certs.Source
	}{
		{&cfg.ClientTLS, slices.Concat(cfg.ListenClientURLs, cfg.ListenClientHTTPURLs, cfg.ListenMetricsURLs), &s.client},
		{&cfg.PeerTLS, cfg.ListenPeerURLs, &s.peer},
	} {
		if !p.tls.Auto || !p.urls.AnySecure() {
			continue
		}
		var hosts []string
		for _, u := range p.urls {
			hosts = append(hosts, u.HostPort)
		}
		dir := filepath.Join(cfg.DataDir, fixturesDir, p.tls.Role)
		o := p.tls.Options
		var err error
		if o.CertFile, o.KeyFile, err = certs.SelfSigned(dir, hosts, cfg.SelfSignedYears, time.Now()); err != nil {
			return err
		}
		o.SelfSigned, o.Logger = true, logging.For(log, "tls")
		if *p.source, err = certs.New(o); err != nil {
			return err
		}
	}
	return nil
}

// secure wraps the listeners for metrics and for peers with TLS where their URLs require it. It
// returns an error if there is no certificate for a URL, which must not be served without TLS.
func (s *security) secure(r *reservation) error {
	set := func(source *certs.Source, turns *handshake.Turns, listeners []*listen.Listener, protocols ...string) {
		for _, l := range listeners {
			if source != nil {
				l.Secure(source.Server(protocols...), s.failures, turns)
			}
		}
	}
	set(s.client, s.clientTurns, r.metrics, "http/1.1")
	set(s.peer, s.peerTurns, r.peer, "http/1.1")
	var unprotected []*listen.Listener
	if s.client == nil {
		unprotected = slices.Concat(r.client, r.clientHTTP, r.metrics)
	}
	if s.peer == nil {
		unprotected = append(unprotected, r.peer...)
	}
	for _, l := range unprotected {
		if l.IsSecure() {
			return fmt.Errorf("there is no certificate for %s", l.URL())
		}
	}
	return nil
}

// ofClientPort returns the TLS configuration of a listener for clients, whose server makes the
// handshakes; nil without TLS in the URL.
func (s *security) ofClientPort(l *listen.Listener) *tls.Config {
	if s.client == nil || !l.IsSecure() {
		return nil
	}
	return s.client.Server("h2", "http/1.1")
}

// dialPeer returns the configuration of a connection to another member.
func (s *security) dialPeer(host string) *tls.Config {
	if s.peer == nil {
		return &tls.Config{MinVersion: tls.VersionTLS12, ServerName: cmp.Or(s.peerName, host)}
	}
	return s.peer.Dial(host)
}

// run reloads changed files and warns of expiring certificates until ctx ends.
func (s *security) run(ctx context.Context) {
	var work sync.WaitGroup
	for _, source := range s.sources() {
		work.Go(func() { source.Run(ctx) })
	}
	work.Wait()
}

// reload reads all files now.
func (s *security) reload() error {
	var failed []error
	for _, source := range s.sources() {
		failed = append(failed, source.Reload())
	}
	return errors.Join(failed...)
}

func (s *security) sources() (all []*certs.Source) {
	for _, source := range []*certs.Source{s.client, s.peer} {
		if source != nil {
			all = append(all, source)
		}
	}
	return all
}

// expiries returns the expiries for metrics.
func (s *security) expiries() (all []metrics.CertificateState) {
	for _, source := range s.sources() {
		for _, e := range source.Expiries() {
			all = append(all, metrics.CertificateState{Role: e.Role, File: e.File, NotAfter: e.NotAfter})
		}
	}
	return all
}

// revocationLists returns the revocation lists for metrics.
func (s *security) revocationLists() (all []metrics.RevocationListState) {
	for _, source := range s.sources() {
		for _, e := range source.RevocationExpiries() {
			all = append(all, metrics.RevocationListState{Role: e.Role, File: e.File, NextUpdate: e.NotAfter})
		}
	}
	return all
}
