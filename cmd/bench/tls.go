package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// secret is the mutual TLS of a server's client port: certificates made for one run.
type secret struct {
	flags  []string // of the server
	client tlsFiles
	config *tls.Config // of clients that are not gRPC's
}

// newSecret makes an authority, and certificates of the server and of clients, in a directory.
func newSecret(dir string) (*secret, error) {
	files := tlsFiles{ca: filepath.Join(dir, "ca.crt"), cert: filepath.Join(dir, "client.crt"), key: filepath.Join(dir, "client.key")}
	serverCert, serverKey := filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, 7),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	authorityKey, err := issue(authority, authority, nil, files.ca, filepath.Join(dir, "ca.key"))
	if err != nil {
		return nil, err
	}
	for i, f := range [][2]string{{serverCert, serverKey}, {files.cert, files.key}} {
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i) + 2), Subject: pkix.Name{CommonName: "bench"},
			NotBefore: authority.NotBefore, NotAfter: authority.NotAfter,
			KeyUsage: x509.KeyUsageDigitalSignature, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		if _, err := issue(leaf, authority, authorityKey, f[0], f[1]); err != nil {
			return nil, err
		}
	}
	config, err := files.load()
	if err != nil {
		return nil, err
	}
	config.ServerName = "127.0.0.1"
	return &secret{
		flags:  []string{"--cert-file=" + serverCert, "--key-file=" + serverKey, "--trusted-ca-file=" + files.ca, "--client-cert-auth=true"},
		client: files, config: config,
	}, nil
}

// issue writes a certificate with a new key. Without a key of the parent it is self-signed.
func issue(leaf, parent *x509.Certificate, parentKey *ecdsa.PrivateKey, certFile, keyFile string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if parentKey == nil {
		parentKey = key
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, parent, key.Public(), parentKey)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			return nil, err
		}
	}
	return key, nil
}

// scheme is that of the server's client URL.
func (s *server) scheme() string {
	if s.secret != nil {
		return "https"
	}
	return "http"
}

// endpoint is the server's client URL for workloads.
func (s *server) endpoint() endpoint { return endpoint{s.scheme(), s.client} }

// files are what workloads need to connect.
func (s *server) files() tlsFiles {
	if s.secret != nil {
		return s.secret.client
	}
	return tlsFiles{}
}

// dial connects to the client port, with a full handshake where the server speaks TLS.
func (s *server) dial(ctx context.Context) (net.Conn, error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.client)
	if err != nil || s.secret == nil {
		return nc, err
	}
	inner := tls.Client(nc, s.secret.config)
	if err := inner.HandshakeContext(ctx); err != nil {
		_ = nc.Close() // nothing was written
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return inner, nil
}

// secureGoals replace the goals of scenarios over TLS (issue 13).
var secureGoals = map[string]map[string]goal{
	"put-1000":       {cpu.name: {atMost: 0.5}},
	"get-1000":       {cpu.name: {atMost: 0.35}},
	"put-1":          {p50.name: {atMost: 0.85}},
	"v2-polls-5000":  {bytesPerPoll.name: {atMost: 1}},
	handshakes.name:  handshakeTargets,
	"keepalive-1000": {cpu.name: {atMost: 1}},
}
