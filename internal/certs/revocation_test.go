package certs

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cairn/test/pki"
)

// TestRevocationListWarnings reads revocation lists that are in use, but do not do what the
// operator expects of them.
func TestRevocationListWarnings(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	ca, stranger, namesake := pki.NewAuthority(t, "ca"), pki.NewAuthority(t, "stranger"), pki.NewAuthority(t, "ca")
	intermediate := ca.Intermediate(t, "intermediate")
	roots := pki.Write(t, filepath.Join(dir, "ca.pem"), ca.PEM())
	both := pki.Write(t, filepath.Join(dir, "both.pem"), append(ca.PEM(), intermediate.PEM()...))
	const outdated, foreign, replaced = "is out of date", "of an authority that is not trusted", "is not signed by the trusted authority of its issuer's name"
	for _, c := range []struct {
		name, roots string
		list        []byte
		want        string // "" is no warning
	}{
		{"current", roots, ca.Revoke(t), ""},
		{"past its next update", roots, ca.RevokeUntil(t, now.Add(-time.Hour)), outdated},
		{"due soon", roots, ca.RevokeUntil(t, now.Add(time.Hour)), ""},
		{"of another authority", roots, stranger.Revoke(t), foreign},
		{"of an authority that was replaced", roots, namesake.Revoke(t), replaced},
		{"of an intermediate authority", both, intermediate.Revoke(t), ""},
		{"the system's authorities", "", stranger.Revoke(t), ""},
	} {
		var log bytes.Buffer
		s := mustNew(t, Options{
			Role: "client", TrustedCAFile: c.roots, CRLFile: pki.Write(t, filepath.Join(dir, "crl"), c.list),
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		for range 2 {
			s.WarnOfExpiry()
		}
		switch n := strings.Count(log.String(), "\n"); {
		case c.want == "" && n != 0, c.want != "" && (n != 1 || !strings.Contains(log.String(), c.want)):
			t.Errorf("%s: want %q, the log has\n%s", c.name, c.want, &log)
		}
		if e := s.RevocationExpiries(); len(e) != 1 || e[0].Role != "client" || e[0].File != filepath.Join(dir, "crl") || e[0].NotAfter.IsZero() {
			t.Errorf("%s: expiries %+v", c.name, e)
		}
	}
}

// TestReplacedList replaces a list that is out of date: the warning is repeated for the next one
// only.
func TestReplacedList(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	ca := pki.NewAuthority(t, "ca")
	file := pki.Write(t, filepath.Join(dir, "crl"), ca.RevokeUntil(t, now.Add(time.Hour)))
	var log bytes.Buffer
	s := mustNew(t, Options{Role: "peer", CRLFile: file, Logger: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return now }})
	warnings := func(want int) {
		t.Helper()
		s.WarnOfExpiry()
		s.WarnOfExpiry()
		if n := strings.Count(log.String(), "out of date"); n != want {
			t.Errorf("%d warnings, want %d:\n%s", n, want, &log)
		}
	}
	warnings(0)
	now = now.Add(2 * time.Hour)
	warnings(1)
	pki.Write(t, file, ca.RevokeUntil(t, now.Add(time.Hour)))
	s.current()
	warnings(1)
	now = now.Add(2 * time.Hour)
	warnings(2)
}

// TestAuthorityExpiry has a bundle with an expired authority, and a server's certificate that is
// sent with an expired intermediate one.
func TestAuthorityExpiry(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	ca := pki.NewAuthority(t, "ca")
	old := ca.Issue(t, pki.Spec{CommonName: "old", Authority: true, NotBefore: now.Add(-48 * time.Hour), NotAfter: now.Add(-time.Hour)})
	leaf := ca.Issue(t, pki.Spec{CommonName: "leaf"})
	leaf.CertPEM = append(leaf.CertPEM, old.CertPEM...)
	files := leaf.Write(t, dir, "leaf")
	for name, o := range map[string]Options{
		"bundle": {TrustedCAFile: pki.Write(t, filepath.Join(dir, "bundle"), append(ca.PEM(), old.CertPEM...))},
		"chain":  {CertFile: files.Cert, KeyFile: files.Key},
	} {
		var log bytes.Buffer
		o.Role, o.Logger = "client", slog.New(slog.NewTextHandler(&log, nil))
		mustNew(t, o).WarnOfExpiry()
		if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=ERROR") || !strings.Contains(got, "certificates that it signed are rejected") || !strings.Contains(got, "CN=old") {
			t.Errorf("%s: %s", name, got)
		}
	}
}
