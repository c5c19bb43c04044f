package localcmd

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestIssuedCertificatesVerify issues a certificate of each use and verifies it as a server, a peer
// and a client would.
func TestIssuedCertificatesVerify(t *testing.T) {
	now := time.Now()
	a, err := newAuthority("test CA", now, now.AddDate(0, 0, 10))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := save(a, filepath.Join(dir, "ca"), false); err != nil {
		t.Fatal(err)
	}
	if a, err = readAuthority(dir); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.Cert)
	for _, c := range []struct {
		u      use
		usage  x509.ExtKeyUsage
		host   string
		verify bool
	}{
		{serverUse, x509.ExtKeyUsageServerAuth, "10.0.0.1", true},
		{serverUse, x509.ExtKeyUsageServerAuth, "n1.example.com", true},
		{serverUse, x509.ExtKeyUsageServerAuth, "n2.example.com", false},
		{peerUse, x509.ExtKeyUsageClientAuth, "", true},
		{clientUse, x509.ExtKeyUsageClientAuth, "", true},
		{clientUse, x509.ExtKeyUsageServerAuth, "", false},
	} {
		p, err := issueBy(a, c.u, "n1", []string{"10.0.0.1", "n1.example.com"}, now, now.AddDate(1, 0, 0))
		if err != nil {
			t.Fatal(err)
		}
		if p.Cert.NotAfter.After(a.Cert.NotAfter) {
			t.Errorf("%s: valid until %v, longer than its CA", c.u.suffix, p.Cert.NotAfter)
		}
		_, err = p.Cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: c.host, KeyUsages: []x509.ExtKeyUsage{c.usage}})
		if (err == nil) != c.verify {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestSaveReplacesNothing(t *testing.T) {
	now := time.Now()
	a, err := newAuthority("test CA", now, now.AddDate(0, 0, 10))
	if err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(t.TempDir(), "new", "ca")
	for _, c := range []struct{ force, ok bool }{{false, true}, {false, false}, {true, true}} {
		if err := save(a, base, c.force); (err == nil) != c.ok {
			t.Errorf("force %v: %v", c.force, err)
		}
	}
	if info, err := os.Stat(base + ".key"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key has the mode %v (%v)", info.Mode(), err)
	}
}

func TestMembersOf(t *testing.T) {
	members, err := membersOf("n1=https://10.0.0.1:2380,n1=https://a.example.com:2380,n2=https://[::1]:2380")
	if err != nil || len(members) != 2 || !slices.Equal(members[0].hosts, []string{"10.0.0.1", "a.example.com"}) || members[1].hosts[0] != "::1" {
		t.Errorf("got %+v, %v", members, err)
	}
	for _, bad := range []string{"n1", "=https://a:1", "n1=", "n1=:%"} {
		if _, err := membersOf(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
