package certs

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Source returns the TLS configurations of a role, from files that it reads again when they change.
type Source struct {
	opts Options
	now  atomic.Pointer[state]

	mu     sync.Mutex // guards the fields below, and changes of now
	failed signature  // of files that could not be used, so that the error is logged once
	warned map[warning]bool
}

// state is in use: the content of the files, and their signature when they were read.
type state struct {
	material  *material
	signature signature
	server    *tls.Config // nil without a certificate
}

// New reads the files. It returns an error when one is missing or cannot be used.
func New(o Options) (*Source, error) {
	o.setDefaults()
	if err := o.Check(); err != nil {
		return nil, err
	}
	s := &Source{opts: o, warned: map[warning]bool{}}
	if err := s.Reload(); err != nil {
		return nil, err
	}
	return s, nil
}

// Files returns the names of the files that are read, in a fixed order.
func (s *Source) Files() (files []string) {
	o := &s.opts
	for _, f := range []string{o.CertFile, o.KeyFile, o.ClientCertFile, o.ClientKeyFile, o.TrustedCAFile, o.CRLFile} {
		if f != "" {
			files = append(files, f)
		}
	}
	return files
}

// signature has the metadata of the files, to detect changes.
type signature [6]struct {
	size, seconds, nanoseconds int64
	inode                      uint64
	missing                    bool
}

func (s *Source) signature() (sig signature) {
	for i, f := range s.Files() {
		info, err := os.Stat(f)
		if err != nil {
			sig[i].missing = true
			continue
		}
		sig[i].size = info.Size()
		sig[i].seconds, sig[i].nanoseconds = info.ModTime().Unix(), int64(info.ModTime().Nanosecond())
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			sig[i].inode = st.Ino
		}
	}
	return sig
}

// Reload reads all files, changed or not. When they cannot be used it returns the error, and the
// old ones stay in use.
func (s *Source) Reload() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reloadLocked(s.signature())
}

func (s *Source) reloadLocked(sig signature) error {
	m, err := s.opts.load()
	if err != nil {
		s.failed = sig
		return err
	}
	old := s.now.Load()
	s.now.Store(&state{material: m, signature: sig, server: s.opts.server(m)})
	s.failed = signature{}
	s.warnOfUsage(m)
	s.warnOfHosts(m)
	s.warnOfForeignLists(m)
	if old != nil {
		s.opts.Logger.Info("reloaded TLS files", "role", s.opts.Role, "files", s.Files())
		s.warnOfExpiryLocked()
	}
	return nil
}

// current returns the state in use, after checking the files for changes.
func (s *Source) current() *state {
	now := s.now.Load()
	sig := s.signature()
	if sig == now.signature {
		return now
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if sig != s.now.Load().signature && sig != s.failed {
		if err := s.reloadLocked(sig); err != nil {
			s.opts.Logger.Error("cannot use changed TLS files; the old ones stay in use", "role", s.opts.Role, "error", err)
		}
	}
	return s.now.Load()
}

// pollInterval is the interval of checks for changed files in the absence of handshakes.
const pollInterval = time.Minute

// Run checks the files, and the expiry of certificates and revocation lists, at intervals until ctx
// ends.
func (s *Source) Run(ctx context.Context) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		s.current()
		s.WarnOfExpiry()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// server makes the configuration of a port; nil without a certificate.
func (o *Options) server(m *material) *tls.Config {
	if len(m.serverCerts) == 0 {
		return nil
	}
	c := o.base()
	c.Certificates = m.serverCerts
	if o.TrustedCAFile != "" || o.RequireClientCert {
		c.ClientAuth = tls.RequireAndVerifyClientCert
		c.ClientCAs = m.roots
	}
	return c
}

// base returns the options that servers and clients share.
func (o *Options) base() *tls.Config {
	return &tls.Config{MinVersion: o.MinVersion, MaxVersion: o.MaxVersion, CipherSuites: o.CipherSuites}
}

// Server returns the configuration of a port that accepts the given ALPN protocols. Use it for all
// connections of the port. New must have been given a certificate.
func (s *Source) Server(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: s.opts.MinVersion,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			now := s.current()
			if now.server == nil {
				return nil, fmt.Errorf("no certificate for the %s port", s.opts.Role)
			}
			c := now.server.Clone()
			c.NextProtos = protocols
			ctx, remote := hello.Context(), hello.Conn.RemoteAddr()
			c.VerifyConnection = func(cs tls.ConnectionState) error {
				return s.opts.verifyClient(ctx, now.material, &cs, remote)
			}
			return c, nil
		},
	}
}

// Dial returns the configuration of one connection to a server. The certificate must be valid for
// the host, or for Options.ServerName instead. Use it at once: it does not follow changes of the
// files.
func (s *Source) Dial(host string, protocols ...string) *tls.Config {
	now := s.current()
	m := now.material
	c := s.opts.base()
	c.ServerName, c.NextProtos, c.RootCAs = cmp.Or(s.opts.ServerName, host), protocols, m.roots
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if m.clientCert == nil {
			return new(tls.Certificate), nil
		}
		return m.clientCert, nil
	}
	// Self-signed certificates protect against passive eavesdroppers only, as etcd's
	// --peer-auto-tls does.
	c.InsecureSkipVerify = s.opts.SelfSigned
	c.VerifyConnection = func(cs tls.ConnectionState) error { return s.opts.verifyRemote(m, &cs) }
	return c
}

// Expiries returns the end of validity of each certificate in use.
func (s *Source) Expiries() []Expiry { return s.now.Load().material.expiries }
