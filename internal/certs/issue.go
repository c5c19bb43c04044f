package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
)

// Pair is a certificate with its private key.
type Pair struct {
	Cert *x509.Certificate
	Key  *ecdsa.PrivateKey
}

// serialBits is the length of a serial number; RFC 5280 allows up to 159 bits.
const serialBits = 127

// Sign makes a key and the certificate that a template describes. The authority signs it; without
// one the key signs it itself. Sign sets the template's serial number and adds hosts, which are
// host names and IP addresses.
func Sign(template *x509.Certificate, hosts []string, authority *Pair) (p Pair, err error) {
	if p.Key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return p, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits)); err != nil {
		return p, err
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if host != "" {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	parent, key := template, p.Key
	if authority != nil {
		parent, key = authority.Cert, authority.Key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, p.Key.Public(), key)
	if err != nil {
		return p, err
	}
	p.Cert, err = x509.ParseCertificate(der)
	return p, err
}

// Modes of the files: all users may read a certificate, only its owner a key.
const (
	certMode = 0o644
	keyMode  = 0o600
)

// Save writes both files as PEM, replacing existing ones. The certificate is written last, since
// it cannot be used without its key.
func (p Pair) Save(certFile, keyFile string) error {
	key, err := x509.MarshalPKCS8PrivateKey(p.Key)
	if err != nil {
		return err
	}
	if err := replaceFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), keyMode); err != nil {
		return err
	}
	return replaceFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Cert.Raw}), certMode)
}

// replaceFile writes a temporary file and renames it, so that the file is complete at any time.
func replaceFile(path string, text []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
