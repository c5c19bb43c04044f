package certs

import (
	"bytes"
	"crypto/x509"
	"log/slog"
	"strings"
	"testing"
	"time"

	"cairn/test/pki"
)

// TestUsageWarnings reads certificates whose extended key usages do not allow what the role shows
// them for.
func TestUsageWarnings(t *testing.T) {
	const forServers, forClients = "it is not for servers", "it is not for clients"
	dir, ca := t.TempDir(), pki.NewAuthority(t, "ca")
	server, client := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	for _, c := range []struct {
		role   string
		usages []x509.ExtKeyUsage
		want   string // "" is no warning
	}{
		{"client", nil, ""},
		{"client", server, ""},
		{"client", client, forServers},
		{"peer", nil, ""},
		{"peer", server, forClients},
		{"peer", client, forServers},
		{"peer", []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, ""},
	} {
		var log bytes.Buffer
		files := ca.Issue(t, pki.Spec{CommonName: "member", Usages: c.usages}).Write(t, dir, "member")
		mustNew(t, Options{Role: c.role, CertFile: files.Cert, KeyFile: files.Key, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		switch n := strings.Count(log.String(), "\n"); {
		case c.want == "" && n != 0, c.want != "" && (n != 1 || !strings.Contains(log.String(), c.want)):
			t.Errorf("%s, %v: want %q, the log has\n%s", c.role, c.usages, c.want, &log)
		}
	}

	var log bytes.Buffer
	cert, key, err := SelfSigned(t.TempDir(), []string{"127.0.0.1"}, 1, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	mustNew(t, Options{Role: "peer", CertFile: cert, KeyFile: key, SelfSigned: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if log.Len() != 0 {
		t.Errorf("a self-signed certificate: %s", &log)
	}

	// another certificate is shown to members
	files, shown := ca.Issue(t, pki.Spec{Usages: server}).Write(t, dir, "s"), ca.Issue(t, pki.Spec{Usages: client}).Write(t, dir, "c")
	mustNew(t, Options{
		Role: "peer", CertFile: files.Cert, KeyFile: files.Key, ClientCertFile: shown.Cert, ClientKeyFile: shown.Key,
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if log.Len() != 0 {
		t.Errorf("with --peer-client-cert-file: %s", &log)
	}
}

// TestHostWarnings reads certificates that are not valid for the hosts that the server advertises.
func TestHostWarnings(t *testing.T) {
	dir, ca := t.TempDir(), pki.NewAuthority(t, "ca")
	for _, c := range []struct {
		hosts, advertised, serverName, want string // want: the hosts in the warnings
	}{
		{"127.0.0.1 n1.example", "127.0.0.1 n1.example", "", ""},
		{"127.0.0.1", "n1.example 127.0.0.1 10.0.0.1", "", "n1.example 10.0.0.1"},
		{"*.example", "n1.example", "", ""},
		{"", "n1.example", "", "n1.example"},
		{"example.com", "n1.other", "example.com", ""},
		{"n1.example.com", "n1.example.com", "example.com", "example.com"},
	} {
		var log bytes.Buffer
		files := ca.Issue(t, pki.Spec{CommonName: "member", Hosts: strings.Fields(c.hosts)}).Write(t, dir, "member")
		o := Options{
			Role: "peer", CertFile: files.Cert, KeyFile: files.Key, AdvertisedHosts: strings.Fields(c.advertised), ServerName: c.serverName,
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
		}
		mustNew(t, o)
		var got []string
		for line := range strings.Lines(log.String()) {
			_, rest, _ := strings.Cut(line, "is not valid for an advertised host")
			_, rest, _ = strings.Cut(rest, " host=")
			host, _, _ := strings.Cut(rest, " ")
			got = append(got, host)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%+v: the log has\n%s", c, &log)
		}
		log.Reset()
		if o.SelfSigned = true; mustNew(t, o) != nil && log.Len() > 0 {
			t.Errorf("%+v, not verified: %s", c, &log)
		}
	}
}
