package certs

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// fileBytesMax is the maximum size of each file: a bundle of all public authorities has a quarter
// of a megabyte, a large revocation list some megabytes.
const fileBytesMax = 64 << 20

// material is the content of a Source's files when they were read. It never changes afterwards.
type material struct {
	serverCerts []tls.Certificate // of CertFile, for a server; empty without one
	clientCert  *tls.Certificate  // for dialing; nil for none
	roots       *x509.CertPool    // of TrustedCAFile; nil without one
	authorities []*x509.Certificate
	lists       []*x509.RevocationList
	revoked     map[string]bool // by issuer and serial number
	expiries    []Expiry        // of certificates
}

// load reads all files.
func (o *Options) load() (*material, error) {
	m := &material{}
	var err error
	if o.CertFile != "" {
		if m.serverCerts, err = loadPairs(o.CertFile, o.KeyFile); err != nil {
			return nil, err
		}
		m.clientCert = &m.serverCerts[0]
		for _, c := range m.serverCerts {
			if err := m.addExpiries(o.Role, o.CertFile, c); err != nil {
				return nil, err
			}
		}
	}
	if o.ClientCertFile != "" {
		shown, err := loadPairs(o.ClientCertFile, o.ClientKeyFile)
		if err != nil {
			return nil, err
		}
		m.clientCert = &shown[0]
		if o.NoClientCommonName {
			if err := checkNoCommonName(o.ClientCertFile, m.clientCert.Leaf); err != nil {
				return nil, err
			}
		}
		if err := m.addExpiries(o.Role, o.ClientCertFile, *m.clientCert); err != nil {
			return nil, err
		}
	}
	if o.TrustedCAFile != "" {
		if m.authorities, err = loadCertificates(o.TrustedCAFile); err != nil {
			return nil, err
		}
		m.roots = x509.NewCertPool()
		for _, c := range m.authorities {
			m.roots.AddCert(c)
			m.expiries = append(m.expiries, expiryOf(o.Role, o.TrustedCAFile, c, kindAuthority))
		}
	}
	if o.CRLFile != "" {
		if m.lists, err = loadRevocationLists(o.CRLFile); err != nil {
			return nil, err
		}
		m.revoked = revokedBy(m.lists)
	}
	return m, nil
}

// addExpiries adds the end of validity of a certificate and of the authorities that are sent with
// it.
func (m *material) addExpiries(role, file string, sent tls.Certificate) error {
	m.expiries = append(m.expiries, expiryOf(role, file, sent.Leaf, kindLeaf))
	for i, der := range sent.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("%s: certificate %d of the chain of %s: %w", file, i+2, sent.Leaf.Subject, err)
		}
		m.expiries = append(m.expiries, expiryOf(role, file, c, kindAuthority))
	}
	return nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		if cause := (*fs.PathError)(nil); errors.As(err, &cause) {
			err = cause.Err
		}
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, fileBytesMax+1))
	if cause := (*fs.PathError)(nil); errors.As(err, &cause) {
		err = cause.Err
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", path, err)
	case len(text) > fileBytesMax:
		return nil, fmt.Errorf("read %s: more than %d bytes", path, fileBytesMax)
	}
	return text, nil
}

func loadCertificates(path string) ([]*x509.Certificate, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	certificates, err := parseCertificates(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return certificates, nil
}

// parseCertificates reads the certificates of a PEM file, which must have at least one.
func parseCertificates(text []byte) (found []*x509.Certificate, err error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d cannot be read: %w", len(found)+1, err)
		}
		found = append(found, c)
	}
	if len(found) == 0 {
		return nil, errors.New("no certificate in it: want PEM blocks BEGIN CERTIFICATE")
	}
	return found, nil
}

// parseKeys reads the private keys of a PEM file, which must have at least one.
func parseKeys(text []byte) (keys []crypto.Signer, err error) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "PRIVATE KEY" && !strings.HasSuffix(block.Type, " PRIVATE KEY") {
			continue
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			return nil, errors.New("the private key is encrypted: want it without a passphrase")
		}
		key, err := parseKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("private key %d cannot be read: %w", len(keys)+1, err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("no private key in it: want a PEM block BEGIN PRIVATE KEY")
	}
	return keys, nil
}

func parseKey(der []byte) (crypto.Signer, error) {
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("neither PKCS #8, PKCS #1 nor SEC 1")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a key of type %T cannot sign", key)
	}
	return signer, nil
}

// loadPairs reads a certificate with its chain and its key, or several of them from one bundle: the
// certificates after one that has a key, up to the next one that has a key, are its chain.
func loadPairs(certFile, keyFile string) ([]tls.Certificate, error) {
	certificates, err := loadCertificates(certFile)
	if err != nil {
		return nil, err
	}
	text, err := readFile(keyFile)
	if err != nil {
		return nil, err
	}
	keys, err := parseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyFile, err)
	}
	pairs, err := pairUp(certificates, keys)
	if err != nil {
		return nil, fmt.Errorf("%s, %s: %w", certFile, keyFile, err)
	}
	return pairs, nil
}

func pairUp(certificates []*x509.Certificate, keys []crypto.Signer) (pairs []tls.Certificate, err error) {
	used := make([]bool, len(keys))
	for i, c := range certificates {
		k := slices.IndexFunc(keys, func(key crypto.Signer) bool { return samePublicKey(c, key) })
		switch {
		case k >= 0:
			used[k] = true
			pairs = append(pairs, tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: keys[k], Leaf: c})
		case i == 0:
			return nil, errors.New("private key does not match the first certificate")
		default:
			last := &pairs[len(pairs)-1]
			last.Certificate = append(last.Certificate, c.Raw)
		}
	}
	if k := slices.Index(used, false); k >= 0 {
		return nil, fmt.Errorf("private key %d has no certificate", k+1)
	}
	return pairs, nil
}

func samePublicKey(c *x509.Certificate, key crypto.Signer) bool {
	public, ok := key.Public().(interface{ Equal(x crypto.PublicKey) bool })
	return ok && public.Equal(c.PublicKey)
}
