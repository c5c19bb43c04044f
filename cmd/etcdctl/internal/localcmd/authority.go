package localcmd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// use is what a certificate is for.
type use struct {
	suffix string // of the file's name
	usages []x509.ExtKeyUsage
	hosts  []string // in every certificate
}

// A server certificate is for clients' connections as well: etcd's gateway presents it to the
// member itself. Peers are servers and clients of each other.
var (
	serverUse = use{"server", []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, []string{"localhost", "127.0.0.1", "::1"}}
	peerUse   = use{"peer", []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, nil}
	clientUse = use{"client", []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, nil}
)

// clockSkew is how long before its issue a certificate is valid, for clocks that are behind.
const clockSkew = 5 * time.Minute

// serialBits is the length of a serial number; RFC 5280 allows up to 159 bits.
const serialBits = 127

// pair is a certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newAuthority creates a self-signed certificate authority.
func newAuthority(name string, now, end time.Time) (pair, error) {
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
	return sign(template, nil, now, end)
}

// issue issues a certificate for hosts.
func (p pair) issue(u use, name string, hosts []string, now, end time.Time) (pair, error) {
	if end.After(p.cert.NotAfter) {
		end = p.cert.NotAfter
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, ExtKeyUsage: u.usages, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return sign(template, &p, now, end)
}

// sign makes a key and signs its certificate with the authority's key or, without one, with itself.
func sign(template *x509.Certificate, authority *pair, now, end time.Time) (p pair, err error) {
	if p.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return p, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits)); err != nil {
		return p, err
	}
	template.NotBefore, template.NotAfter = now.Add(-clockSkew), end
	parent, key := template, p.key
	if authority != nil {
		parent, key = authority.cert, authority.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &p.key.PublicKey, key)
	if err != nil {
		return p, err
	}
	p.cert, err = x509.ParseCertificate(der)
	return p, err
}

// readAuthority reads ca.crt and ca.key.
func readAuthority(dir string) (p pair, err error) {
	loaded, err := tls.LoadX509KeyPair(filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key"))
	if err != nil {
		return p, err
	}
	key, ok := loaded.PrivateKey.(*ecdsa.PrivateKey)
	if p.cert, err = x509.ParseCertificate(loaded.Certificate[0]); err != nil || !ok || !p.cert.IsCA {
		return p, errors.Join(err, fmt.Errorf("%s is not the certificate of an authority with an ECDSA key", filepath.Join(dir, "ca.crt")))
	}
	p.key = key
	return p, nil
}

// Modes of the files: a certificate is readable by everyone, a key by its owner only.
const (
	dirMode  = 0o755
	certMode = 0o644
	keyMode  = 0o600
)

// save writes base.crt and base.key. Without force it replaces neither.
func (p pair) save(base string, force bool) error {
	if !force {
		for _, path := range []string{base + ".crt", base + ".key"} {
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s exists: remove it, or replace it with --force", path)
			}
		}
	}
	key, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(base), dirMode); err != nil {
		return err
	}
	// The key first: a certificate without its key is useless.
	if err := writeFile(base+".key", "PRIVATE KEY", key, keyMode); err != nil {
		return err
	}
	return writeFile(base+".crt", "CERTIFICATE", p.cert.Raw, certMode)
}

// writeFile writes a PEM block to a new file and renames it, so that a reader never sees half of
// it.
func writeFile(path, kind string, der []byte, mode fs.FileMode) error {
	part := path + ".part"
	if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(part, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode); err != nil {
		return err
	}
	return os.Rename(part, path)
}
