package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cairn/test/pki"
)

// connect connects a client of one configuration with a server of another, over TCP, and returns
// the errors that each side saw.
func connect(t *testing.T, server, client *tls.Config) (state tls.ConnectionState, atServer, atClient error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		nc, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer nc.Close()
		c := tls.Server(nc, server)
		err = c.HandshakeContext(t.Context())
		if err == nil {
			_, err = c.Write([]byte("x"))
		}
		done <- err
	}()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c := tls.Client(nc, client)
	atClient = c.HandshakeContext(t.Context())
	if atClient == nil {
		// with TLS 1.3 a refusal of the client's certificate comes after the client's handshake
		_, atClient = io.ReadFull(c, make([]byte, 1))
	}
	state = c.ConnectionState()
	nc.Close()
	return state, <-done, atClient
}

func mustNew(t *testing.T, o Options) *Source {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestVerification is the matrix of certificates that a client or a server presents.
func TestVerification(t *testing.T) {
	dir := t.TempDir()
	ca, other := pki.NewAuthority(t, "ca"), pki.NewAuthority(t, "other")
	caFile := pki.Write(t, filepath.Join(dir, "ca.pem"), ca.PEM())
	hosts := []string{"127.0.0.1", "localhost"}
	server := ca.Issue(t, pki.Spec{CommonName: "server", Hosts: hosts}).Write(t, dir, "server")
	revoked := ca.Issue(t, pki.Spec{CommonName: "member", Hosts: hosts})
	crl := pki.Write(t, filepath.Join(dir, "crl"), ca.Revoke(t, revoked.Cert))
	now := time.Now()
	clients := map[string]pki.Pair{
		"right":         ca.Issue(t, pki.Spec{CommonName: "member", Hosts: hosts}),
		"no names":      ca.Issue(t, pki.Spec{CommonName: "member"}),
		"expired":       ca.Issue(t, pki.Spec{CommonName: "member", Hosts: hosts, NotAfter: now.Add(-time.Minute)}),
		"not yet valid": ca.Issue(t, pki.Spec{CommonName: "member", Hosts: hosts, NotBefore: now.Add(time.Hour)}),
		"wrong CA":      other.Issue(t, pki.Spec{CommonName: "member", Hosts: hosts}),
		"revoked":       revoked,
		"wrong CN":      ca.Issue(t, pki.Spec{CommonName: "stranger", Hosts: hosts}),
		"wrong IP":      ca.Issue(t, pki.Spec{CommonName: "member", Hosts: []string{"10.1.2.3"}}),
		"wrong DNS":     ca.Issue(t, pki.Spec{CommonName: "member", Hosts: []string{"no.such.invalid"}}),
		"server only":   ca.Issue(t, pki.Spec{CommonName: "member", Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}),
	}
	s := mustNew(t, Options{
		Role: "peer", CertFile: server.Cert, KeyFile: server.Key, TrustedCAFile: caFile, CRLFile: crl, RequireClientCert: true,
		AllowedCNs: []string{"member", "server"}, CheckClientSAN: true, Resolver: names{},
	})
	for name, want := range map[string]string{
		"right": "", "no names": "",
		"expired":       "the client's certificate has expired",
		"not yet valid": "the client's certificate is not valid yet",
		"wrong CA":      "the client's certificate is signed by an authority that this server does not trust",
		"revoked":       "the client's certificate is revoked: serial number 3",
		"wrong CN":      `the client's certificate has none of the allowed names: its common name is "stranger", want "member" or "server"`,
		"wrong IP":      "the client's certificate is not for this address: it is for 10.1.2.3, and comes from 127.0.0.1",
		"wrong DNS":     "the client's certificate is not for this address: it is for no.such.invalid, and comes from 127.0.0.1",
		"server only":   "the client's certificate must not be used by clients: want the extended key usage clientAuth",
	} {
		files := clients[name].Write(t, dir, "client")
		client := mustNew(t, Options{Role: "peer", CertFile: files.Cert, KeyFile: files.Key, TrustedCAFile: caFile})
		_, atServer, atClient := connect(t, s.Server("h2"), client.Dial("127.0.0.1", "h2"))
		switch {
		case want == "":
			if atServer != nil || atClient != nil {
				t.Errorf("%s: server %v, client %v", name, atServer, atClient)
			}
		case atServer == nil || atClient == nil:
			t.Errorf("%s: accepted", name)
		default:
			if got := strings.Split(Explain(atServer), "\n")[0]; got != want {
				t.Errorf("%s: %q, want %q (%v)", name, got, want, atServer)
			}
		}
	}
	// The same checks of a server's certificate, when dialing.
	for name, want := range map[string]string{
		"right": "", "expired": "expired", "not yet valid": "not yet valid", "wrong CA": "unknown authority", "revoked": "revoked",
		"wrong CN": "allowed names", "wrong IP": "10.1.2.3", "wrong DNS": "127.0.0.1",
	} {
		files := clients[name].Write(t, dir, "server2")
		acceptor := mustNew(t, Options{Role: "peer", CertFile: files.Cert, KeyFile: files.Key, TrustedCAFile: caFile})
		_, _, atClient := connect(t, acceptor.Server(), s.Dial("127.0.0.1"))
		if (want == "") != (atClient == nil) || atClient != nil && !strings.Contains(atClient.Error(), want) {
			t.Errorf("dial %s: %v, want %q", name, atClient, want)
		}
	}
	// a client without a certificate
	_, _, atClient := connect(t, s.Server(), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec
	if atClient == nil {
		t.Error("a client without a certificate was accepted")
	}
}

// names is a Resolver of a small network.
type names struct{}

func (names) LookupHost(_ context.Context, host string) ([]string, error) {
	switch host {
	case "n1.example":
		return []string{"10.0.0.9", "127.0.0.1"}, nil
	case "n2.example":
		return []string{"10.0.0.2"}, nil
	}
	return nil, errors.New("no such host")
}

func (names) LookupAddr(_ context.Context, address string) ([]string, error) {
	if address == "127.0.0.1" {
		return []string{"other.", "n1.example."}, nil
	}
	return nil, errors.New("no name")
}

func TestCheckSAN(t *testing.T) {
	ca := pki.NewAuthority(t, "ca")
	for _, c := range []struct {
		hosts, from string
		ok          bool
	}{
		{"", "127.0.0.1", true},
		{"127.0.0.1", "127.0.0.1", true},
		{"::1", "::1", true},
		{"::1", "0:0:0:0:0:0:0:1", true},
		{"10.0.0.1", "127.0.0.1", false},
		{"10.0.0.1 n1.example", "127.0.0.1", true},
		{"n1.example", "127.0.0.1", true},
		{"n2.example", "127.0.0.1", false},
		{"n2.example n1.example", "127.0.0.1", true},
		{"*.example", "127.0.0.1", true},
		{"*.example", "10.0.0.2", false},
		{"*.n1.example", "127.0.0.1", false},
		{"*.other.example *.example", "127.0.0.1", true},
	} {
		leaf := ca.Issue(t, pki.Spec{Hosts: strings.Fields(c.hosts)}).Cert
		if err := checkSAN(t.Context(), names{}, leaf, c.from); (err == nil) != c.ok {
			t.Errorf("%q from %s: %v, want ok %v", c.hosts, c.from, err, c.ok)
		}
	}
}

// TestReload changes each kind of file: new handshakes use it, and broken files are ignored.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	oldCA, newCA := pki.NewAuthority(t, "old"), pki.NewAuthority(t, "new")
	caFile, crl := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "crl.pem")
	pki.Write(t, caFile, oldCA.PEM())
	pki.Write(t, crl, oldCA.Revoke(t))
	files := oldCA.Issue(t, pki.Spec{CommonName: "a", Hosts: []string{"127.0.0.1"}}).Write(t, dir, "server")
	s := mustNew(t, Options{
		Role: "client", CertFile: files.Cert, KeyFile: files.Key, TrustedCAFile: caFile, CRLFile: crl,
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	server := s.Server()
	cache := tls.NewLRUClientSessionCache(8)
	ownCA := func(cas ...*pki.Authority) *x509.CertPool {
		pool := x509.NewCertPool()
		for _, a := range cas {
			pool.AddCert(a.Cert)
		}
		return pool
	}
	oldClient := oldCA.Issue(t, pki.Spec{CommonName: "client"})
	config := func(p pki.Pair, roots *x509.CertPool) *tls.Config {
		return &tls.Config{ServerName: "127.0.0.1", RootCAs: roots, ClientSessionCache: cache, Certificates: []tls.Certificate{{Certificate: [][]byte{p.Cert.Raw}, PrivateKey: p.Key}}}
	}
	shown := func(want string, c *tls.Config) {
		t.Helper()
		state, atServer, atClient := connect(t, server, c)
		if atClient != nil || atServer != nil {
			t.Errorf("want %q: server %v, client %v", want, atServer, atClient)
		} else if got := state.PeerCertificates[0].Subject.CommonName; got != want {
			t.Errorf("server presented %q, want %q", got, want)
		}
	}
	refused := func(why string, c *tls.Config) {
		t.Helper()
		if _, atServer, _ := connect(t, server, c); atServer == nil || !strings.Contains(Explain(atServer), why) {
			t.Errorf("got %v, want %q", atServer, why)
		}
	}
	shown("a", config(oldClient, ownCA(oldCA)))

	newCA.Issue(t, pki.Spec{CommonName: "b", Hosts: []string{"127.0.0.1"}}).Write(t, dir, "server")
	cache = tls.NewLRUClientSessionCache(8)
	shown("b", config(oldClient, ownCA(newCA)))

	pki.Write(t, files.Cert, []byte("broken"))
	for range 3 {
		shown("b", config(oldClient, ownCA(newCA)))
	}
	if n := strings.Count(log.String(), "the old ones stay in use"); n != 1 {
		t.Errorf("the broken file was logged %d times:\n%s", n, &log)
	}
	if err := os.Remove(files.Cert); err != nil {
		t.Fatal(err)
	}
	shown("b", config(oldClient, ownCA(newCA)))
	newCA.Issue(t, pki.Spec{CommonName: "c", Hosts: []string{"127.0.0.1"}}).Write(t, dir, "server")
	cache = tls.NewLRUClientSessionCache(8)
	resumable := config(oldClient, ownCA(newCA))
	shown("c", resumable)

	pki.Write(t, crl, oldCA.Revoke(t, oldClient.Cert))
	refused("revoked", resumable) // although the session could be resumed
	pki.Write(t, crl, oldCA.Revoke(t))
	shown("c", resumable)
	pki.Write(t, caFile, newCA.PEM())
	refused("authority", resumable)
	pki.Write(t, caFile, append(oldCA.PEM(), newCA.PEM()...))
	shown("c", resumable)
	shown("c", config(newCA.Issue(t, pki.Spec{CommonName: "client"}), ownCA(newCA)))
}

// TestBundle has a server choose among the certificates of one file.
func TestBundle(t *testing.T) {
	dir := t.TempDir()
	root := pki.NewAuthority(t, "root")
	between := root.Intermediate(t, "between")
	a := between.Issue(t, pki.Spec{CommonName: "a", Hosts: []string{"a.example"}})
	b := between.Issue(t, pki.Spec{CommonName: "b", Hosts: []string{"b.example"}})
	cert := pki.Write(t, filepath.Join(dir, "crt"), slices.Concat(a.CertPEM, between.PEM(), b.CertPEM, between.PEM()))
	key := pki.Write(t, filepath.Join(dir, "key"), slices.Concat(b.KeyPEM, a.KeyPEM))
	ca := pki.Write(t, filepath.Join(dir, "ca"), root.PEM())
	s := mustNew(t, Options{CertFile: cert, KeyFile: key})
	client := mustNew(t, Options{TrustedCAFile: ca})
	for _, host := range []string{"a", "b"} {
		state, _, err := connect(t, s.Server(), client.Dial(host+".example"))
		if err != nil || state.PeerCertificates[0].Subject.CommonName != host {
			t.Errorf("%s: %v, shown %v", host, err, state.PeerCertificates)
		}
	}
	if _, _, err := connect(t, s.Server(), client.Dial("c.example")); err == nil || !strings.Contains(err.Error(), "a.example, not c.example") {
		t.Errorf("a host of none of them: %v", err)
	}
}

func TestBadFiles(t *testing.T) {
	dir := t.TempDir()
	ca := pki.NewAuthority(t, "ca")
	a, b := ca.Issue(t, pki.Spec{}).Write(t, dir, "a"), ca.Issue(t, pki.Spec{}).Write(t, dir, "b")
	junk := pki.Write(t, filepath.Join(dir, "junk"), []byte("junk"))
	empty := pki.Write(t, filepath.Join(dir, "empty"), []byte("\n"))
	two := pki.Write(t, filepath.Join(dir, "two"), append(readAll(t, a.Key), readAll(t, b.Key)...))
	for want, o := range map[string]Options{
		"KeyFile and CertFile must both be present[key: , cert: x]":                          {CertFile: "x"},
		"AllowedCN and AllowedHostname are mutually exclusive":                               {AllowedCNs: []string{"x"}, AllowedHostnames: []string{"y"}},
		"open " + dir + "/none: no such file or directory":                                   {CertFile: dir + "/none", KeyFile: a.Key},
		"private key does not match the first certificate":                                   {CertFile: a.Cert, KeyFile: b.Key},
		"private key 2 has no certificate":                                                   {CertFile: a.Cert, KeyFile: two},
		"junk: no certificate in it":                                                         {CertFile: junk, KeyFile: a.Key},
		"junk: no private key in it":                                                         {CertFile: a.Cert, KeyFile: junk},
		a.Key + ": no certificate in it":                                                     {TrustedCAFile: a.Key},
		"junk: revocation list 1 cannot be read":                                             {CRLFile: junk},
		"empty: the file is empty: want a revocation list":                                   {CRLFile: empty},
		"min version (TLS 1.3) is greater than max version (TLS 1.2)":                        {MinVersion: tls.VersionTLS13, MaxVersion: tls.VersionTLS12},
		"cipher suites cannot be configured when only TLS1.3 is enabled":                     {MinVersion: tls.VersionTLS13, CipherSuites: []uint16{1}},
		"ClientKeyFile and ClientCertFile must both be present or both absent: key: k, cert": {ClientKeyFile: "k"},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
}

func readAll(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestExpiry(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	// In UTC: in other zones a day may have 23 or 25 hours. Certificates have whole seconds.
	now := time.Now().UTC().Truncate(time.Second).Add(time.Second / 2)
	files := pki.NewAuthority(t, "ca").Issue(t, pki.Spec{CommonName: "a", NotAfter: now.AddDate(0, 0, 40)}).Write(t, dir, "a")
	s := mustNew(t, Options{Role: "peer", CertFile: files.Cert, KeyFile: files.Key, Logger: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return now }})
	if e := s.Expiries(); len(e) != 1 || e[0].Role != "peer" || e[0].File != files.Cert || e[0].Subject != "CN=a" {
		t.Errorf("expiries %+v", e)
	}
	for _, step := range []struct {
		days int
		want string
	}{{0, ""}, {11, "28 days"}, {1, ""}, {22, "5 days"}, {5, "23h"}, {0, ""}, {1, "expired"}, {1, ""}} {
		now = now.AddDate(0, 0, step.days)
		log.Reset()
		s.WarnOfExpiry()
		s.WarnOfExpiry()
		if got := log.String(); step.want == "" && got != "" || step.want != "" && (strings.Count(got, "\n") != 1 || !strings.Contains(got, step.want)) {
			t.Errorf("after %d more days %q, want %q", step.days, got, step.want)
		}
	}
}

// TestExpiryAfterReload replaces a certificate by one that expires soon: the warning comes with the
// reload, also of a handshake, and not with the next look of Run.
func TestExpiryAfterReload(t *testing.T) {
	dir := t.TempDir()
	var log bytes.Buffer
	ca := pki.NewAuthority(t, "ca")
	files := ca.Issue(t, pki.Spec{CommonName: "a"}).Write(t, dir, "a")
	s := mustNew(t, Options{Role: "client", CertFile: files.Cert, KeyFile: files.Key, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for days, reload := range map[int]func(){5: func() { s.current() }, 6: func() {
		if err := s.Reload(); err != nil {
			t.Error(err)
		}
	}} {
		log.Reset()
		ca.Issue(t, pki.Spec{CommonName: "b", NotAfter: time.Now().AddDate(0, 0, days).Add(time.Hour)}).Write(t, dir, "a")
		reload()
		if got := log.String(); strings.Count(got, "certificate expires soon") != 1 || !strings.Contains(got, fmt.Sprintf(`"%d days"`, days)) {
			t.Errorf("after a reload: %s", got)
		}
	}
}

func TestSelfSigned(t *testing.T) {
	dir, now := filepath.Join(t.TempDir(), "fixtures", "client"), time.Now()
	cert, key, err := SelfSigned(dir, []string{"127.0.0.1:2379", "localhost:2379", "::1"}, 2, now)
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := SelfSigned(dir, []string{"other"}, 1, now)
	if err != nil || again != cert {
		t.Fatal(again, err)
	}
	s := mustNew(t, Options{CertFile: cert, KeyFile: key, SelfSigned: true})
	leaf := s.now.Load().material.serverCerts[0].Leaf
	if got := sans(leaf); got != "127.0.0.1, ::1, localhost" || leaf.NotAfter.Before(now.AddDate(2, 0, -1)) {
		t.Errorf("made %s until %v", got, leaf.NotAfter)
	}
	if _, _, err := connect(t, s.Server(), s.Dial("elsewhere")); err != nil {
		t.Errorf("self-signed: %v", err)
	}
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v %v", info.Mode(), err)
	}
	if _, _, err := SelfSigned(dir, nil, 1, now.AddDate(3, 0, 0)); err != nil {
		t.Fatal(err)
	}
	if leaf := mustNew(t, Options{CertFile: cert, KeyFile: key}).now.Load().material.serverCerts[0].Leaf; sans(leaf) != "no host" {
		t.Error("an expired certificate was not replaced")
	}
	if _, _, err := SelfSigned(dir, nil, 0, now); err == nil {
		t.Error("a validity of 0 years was accepted")
	}
}

func TestFailures(t *testing.T) {
	var log bytes.Buffer
	now := time.Now()
	f := newFailures(slog.New(slog.NewTextHandler(&log, nil)), func() time.Time { return now })
	at := func(host string, port int) net.Addr { return &net.TCPAddr{IP: net.ParseIP(host), Port: port} }
	for port := range 100 {
		f.Add(at("10.0.0.1", port), at("10.0.0.9", 2379), io.EOF)
	}
	f.Add(at("10.0.0.2", 1), at("10.0.0.9", 2379), errors.New("tls: client didn't provide a certificate"))
	if n := strings.Count(log.String(), "\n"); n != 2 || !strings.Contains(log.String(), "the client sent no certificate") {
		t.Errorf("%d lines:\n%s", n, &log)
	}
	log.Reset()
	now = now.Add(time.Minute)
	f.Add(at("10.0.0.1", 1), at("10.0.0.9", 2379), io.EOF)
	if !strings.Contains(log.String(), "not_logged=99") {
		t.Errorf("after a minute: %s", &log)
	}
}

func TestParseNames(t *testing.T) {
	if ids, err := ParseCipherSuites([]string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", " TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"}); err != nil || len(ids) != 2 {
		t.Error(ids, err)
	}
	if _, err := ParseCipherSuites([]string{"NONE"}); err == nil || err.Error() != `unexpected TLS cipher suite "NONE"` {
		t.Error(err)
	}
	if v, err := ParseVersion("TLS1.3"); err != nil || v != tls.VersionTLS13 {
		t.Error(v, err)
	}
	if _, err := ParseVersion("TLS1.0"); err == nil {
		t.Error("TLS1.0 was accepted")
	}
}

// FuzzFiles passes random bytes to all parsers of files.
func FuzzFiles(f *testing.F) {
	ca := pki.NewAuthority(f, "ca")
	p := ca.Issue(f, pki.Spec{CommonName: "a"})
	f.Add(p.CertPEM, p.KeyPEM, ca.Revoke(f, p.Cert))
	f.Add(p.KeyPEM, p.CertPEM, []byte("-----BEGIN X509 CRL-----\n-----END X509 CRL-----\n"))
	f.Fuzz(func(_ *testing.T, cert, key, crl []byte) {
		certificates, err := parseCertificates(cert)
		keys, errKeys := parseKeys(key)
		if err == nil && errKeys == nil {
			_, _ = pairUp(certificates, keys)
		}
		_, _ = parseRevocationLists(crl)
	})
}

// TestNoClientCommonName: a proxy's certificate must have no common name, neither at the start nor
// when the file is replaced.
func TestNoClientCommonName(t *testing.T) {
	dir := t.TempDir()
	ca := pki.NewAuthority(t, "ca")
	files := ca.Issue(t, pki.Spec{}).Write(t, dir, "proxy")
	o := Options{Role: "upstream", ClientCertFile: files.Cert, ClientKeyFile: files.Key, NoClientCommonName: true}
	s := mustNew(t, o)
	ca.Issue(t, pki.Spec{CommonName: "root"}).Write(t, dir, "proxy")
	if err := s.Reload(); err == nil || !strings.Contains(err.Error(), "cert has non empty Common Name (root)") {
		t.Errorf("reload: %v", err)
	}
	shown, err := s.Dial("").GetClientCertificate(nil)
	if err != nil || shown.Leaf.Subject.CommonName != "" {
		t.Errorf("shown: %+v, %v", shown, err)
	}
	if _, err := New(o); err == nil {
		t.Error("a certificate with a common name was accepted")
	}
}
