// Package pki makes certificate authorities, certificates and revocation lists for tests.
//
// It does not own the checks of certificates: internal/certs has them. Its functions fail the test
// on an error.
//
// Concurrency: an Authority is used by one goroutine.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority signs certificates.
type Authority struct {
	Cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64 // serial number
}

// NewAuthority makes an authority with a self-signed certificate.
func NewAuthority(t testing.TB, name string) *Authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &Authority{Cert: parse(t, der), key: key, next: 2}
}

// PEM is the authority's certificate.
func (a *Authority) PEM() []byte { return encode("CERTIFICATE", a.Cert.Raw) }

// Spec is the content of a certificate. Zero times mean an hour ago and a year from now.
type Spec struct {
	CommonName          string
	Hosts               []string // IP addresses and DNS names
	NotBefore, NotAfter time.Time
	Usages              []x509.ExtKeyUsage // nil means for servers and clients
	Authority           bool               // may sign others
}

// Pair is a certificate with its key.
type Pair struct {
	Cert *x509.Certificate
	Key  *ecdsa.PrivateKey

	CertPEM, KeyPEM []byte
}

// Issue signs a certificate.
func (a *Authority) Issue(t testing.TB, s Spec) Pair {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: s.CommonName},
		NotBefore: s.NotBefore, NotAfter: s.NotAfter, ExtKeyUsage: s.Usages,
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true, IsCA: s.Authority,
	}
	a.next++
	if s.Authority {
		template.KeyUsage |= x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	}
	if s.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-time.Hour)
	}
	if s.NotAfter.IsZero() {
		template.NotAfter = time.Now().AddDate(1, 0, 0)
	}
	if s.Usages == nil {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	for _, h := range s.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return Pair{Cert: parse(t, der), Key: key, CertPEM: encode("CERTIFICATE", der), KeyPEM: encode("PRIVATE KEY", keyDER)}
}

// Intermediate makes an authority signed by this one.
func (a *Authority) Intermediate(t testing.TB, name string) *Authority {
	t.Helper()
	p := a.Issue(t, Spec{CommonName: name, Authority: true})
	return &Authority{Cert: p.Cert, key: p.Key, next: 1000}
}

// Revoke returns a revocation list, in DER, with the certificates. Another one is due in a year.
func (a *Authority) Revoke(t testing.TB, certs ...*x509.Certificate) []byte {
	t.Helper()
	return a.RevokeUntil(t, time.Now().AddDate(1, 0, 0), certs...)
}

// RevokeUntil is Revoke with the time at which another list is due.
func (a *Authority) RevokeUntil(t testing.TB, next time.Time, certs ...*x509.Certificate) []byte {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: next.AddDate(-1, 0, 0), NextUpdate: next}
	for _, c := range certs {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.Cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// Files are the paths of a certificate and its key.
type Files struct{ Cert, Key string }

// Write writes a pair into dir, as NAME.crt and NAME.key, each atomically.
func (p Pair) Write(t testing.TB, dir, name string) Files {
	t.Helper()
	f := Files{filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")}
	Write(t, f.Key, p.KeyPEM)
	Write(t, f.Cert, p.CertPEM)
	return f
}

// Write replaces a file atomically, and returns its path.
func Write(t testing.TB, path string, text []byte) string {
	t.Helper()
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	return path
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func parse(t testing.TB, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
