package certs

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// The files of a self-signed certificate, as etcd names them.
const (
	selfSignedCert = "cert.pem"
	selfSignedKey  = "key.pem"
)

// SelfSigned returns the files of a self-signed certificate in dir. If there are none, or when they
// have expired, it makes them with the given validity in years. hosts are host names and addresses,
// with or without ports.
func SelfSigned(dir string, hosts []string, years uint, now time.Time) (certFile, keyFile string, err error) {
	if years == 0 {
		return "", "", errors.New("self-signed certificate: validity is 0 years: want 1 or more")
	}
	certFile, keyFile = filepath.Join(dir, selfSignedCert), filepath.Join(dir, selfSignedKey)
	if pairs, err := loadPairs(certFile, keyFile); err == nil && now.Before(pairs[0].Leaf.NotAfter) {
		return certFile, keyFile, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", fmt.Errorf("self-signed certificate: %w", err)
	}
	pair, err := makeSelfSigned(hosts, years, now)
	if err == nil {
		// Without the certificate, which is written last, a start makes both again.
		err = pair.Save(certFile, keyFile)
	}
	if err != nil {
		return "", "", fmt.Errorf("self-signed certificate: %w", err)
	}
	return certFile, keyFile, nil
}

func makeSelfSigned(hosts []string, years uint, now time.Time) (Pair, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"etcd"}},
		NotBefore:             now.Add(-time.Minute), // tolerates clocks that are behind
		NotAfter:              now.AddDate(int(min(years, 1000)), 0, 0),
		KeyUsage:              x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	names := make([]string, len(hosts))
	for i, h := range hosts {
		if host, _, err := net.SplitHostPort(h); err == nil {
			h = host
		}
		names[i] = h
	}
	return Sign(template, names, nil)
}
