package harness

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"cairn/test/pki"
)

// Certificates are the files with which a client connects over mutual TLS.
type Certificates struct {
	CA, Cert, Key string
	Authority     *pki.Authority // signs certificates of further clients
}

// Config is the client's TLS configuration of the files.
func (c Certificates) Config(t testing.TB) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(c.CA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		t.Fatalf("%s: no certificate", c.CA)
	}
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
}

// StartSecure is Start for a server that speaks mutual TLS with its clients. Its certificate is for
// 127.0.0.1 and localhost; the client's common name is root.
func StartSecure(t testing.TB, flags ...string) (*Server, Certificates) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pki")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	ca := pki.NewAuthority(t, "ca")
	caFile := pki.Write(t, filepath.Join(dir, "ca.crt"), ca.PEM())
	server := ca.Issue(t, pki.Spec{CommonName: "server", Hosts: []string{"127.0.0.1", "localhost"}}).Write(t, dir, "server")
	client := ca.Issue(t, pki.Spec{CommonName: "root"}).Write(t, dir, "client")
	files := Certificates{CA: caFile, Cert: client.Cert, Key: client.Key, Authority: ca}
	secure := []string{"--cert-file", server.Cert, "--key-file", server.Key, "--trusted-ca-file", caFile, "--client-cert-auth"}
	transport := &http.Transport{TLSClientConfig: files.Config(t)}
	t.Cleanup(transport.CloseIdleConnections)
	return startServer(t, "", &http.Client{Transport: transport}, append(secure, flags...)), files
}
