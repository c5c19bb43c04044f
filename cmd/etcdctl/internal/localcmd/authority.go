package localcmd

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"cairn/internal/certs"
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

// newAuthority creates a self-signed certificate authority.
func newAuthority(name string, now, end time.Time) (certs.Pair, error) {
	return certs.Sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:  x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		NotBefore: now.Add(-clockSkew), NotAfter: end,
	}, nil, nil)
}

// issueBy has an authority issue a certificate for hosts.
func issueBy(authority certs.Pair, u use, name string, hosts []string, now, end time.Time) (certs.Pair, error) {
	if end.After(authority.Cert.NotAfter) {
		end = authority.Cert.NotAfter
	}
	return certs.Sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, ExtKeyUsage: u.usages, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: now.Add(-clockSkew), NotAfter: end,
	}, hosts, &authority)
}

// readAuthority reads ca.crt and ca.key.
func readAuthority(dir string) (p certs.Pair, err error) {
	loaded, err := tls.LoadX509KeyPair(filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key"))
	if err != nil {
		return p, err
	}
	key, ok := loaded.PrivateKey.(*ecdsa.PrivateKey)
	if p.Cert, err = x509.ParseCertificate(loaded.Certificate[0]); err != nil || !ok || !p.Cert.IsCA {
		return p, errors.Join(err, fmt.Errorf("%s is not the certificate of an authority with an ECDSA key", filepath.Join(dir, "ca.crt")))
	}
	p.Key = key
	return p, nil
}

// dirMode is the mode of the directory: certificates are readable by all users.
const dirMode = 0o755

// save writes base.crt and base.key. Without force it replaces neither.
func save(p certs.Pair, base string, force bool) error {
	if !force {
		for _, path := range []string{base + ".crt", base + ".key"} {
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s exists: remove it, or replace it with --force", path)
			}
		}
	}
	if err := os.MkdirAll(filepath.Dir(base), dirMode); err != nil {
		return err
	}
	return p.Save(base+".crt", base+".key")
}
