package reach

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDiagnose diagnoses servers in each state that has its own explanation.
func TestDiagnose(t *testing.T) {
	response := func(status int, body string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		})
	}
	healthy := httptest.NewServer(response(200, `{"health":"true","reason":""}`))
	defer healthy.Close()
	leaderless := httptest.NewServer(response(503, `{"health":"false","reason":"RAFT NO LEADER"}`))
	defer leaderless.Close()
	other := httptest.NewServer(response(200, `<html>`))
	defer other.Close()
	secure := httptest.NewTLSServer(response(200, `{"health":"true"}`))
	defer secure.Close()
	mutual := httptest.NewUnstartedServer(response(200, `{"health":"true"}`))
	mutual.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS13}
	mutual.StartTLS()
	defer mutual.Close()
	const closed = "127.0.0.1:1"

	overSocket := httptest.NewUnstartedServer(response(200, `{"health":"true"}`))
	overSocket.Listener.Close()
	socket := filepath.Join(t.TempDir(), "etcd.sock")
	var err error
	if overSocket.Listener, err = net.Listen("unix", socket); err != nil {
		t.Fatal(err)
	}
	overSocket.StartTLS()
	defer overSocket.Close()
	secureSocket := "unixs://" + socket
	overPlainSocket := httptest.NewUnstartedServer(response(200, `{"health":"true"}`))
	overPlainSocket.Listener.Close()
	plainSocket := filepath.Join(t.TempDir(), "plain.sock")
	if overPlainSocket.Listener, err = net.Listen("unix", plainSocket); err != nil {
		t.Fatal(err)
	}
	overPlainSocket.Start()
	defer overPlainSocket.Close()

	trusted := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	trusted.RootCAs.AddCert(secure.Certificate())
	trusted.RootCAs.AddCert(mutual.Certificate())
	plain := Options{CAOption: "--cacert", CertOption: "--cert", KeyOption: "--key", Timeout: time.Minute} // for a machine that stops for 2 s
	withCA := plain
	withCA.TLS = trusted
	_, port, _ := net.SplitHostPort(secure.Listener.Addr().String())
	for _, c := range []struct {
		endpoint string
		o        Options
		want     string
	}{
		{healthy.URL, plain, ""},
		{strings.TrimPrefix(healthy.URL, "http://"), plain, ""},
		{closed, plain, "connection refused: no etcd listens"},
		{leaderless.URL, plain, "the member is not healthy (raft no leader)"},
		{other.URL, plain, "the server is not etcd"},
		{strings.Replace(secure.URL, "https", "http", 1), plain, "the server speaks TLS: use https://"},
		{strings.Replace(healthy.URL, "http", "https", 1), plain, "the server does not speak TLS: use http://"},
		{secure.URL, plain, `which is not trusted: name the file of its CA with --cacert`},
		{secure.URL, withCA, ""},
		{"https://localhost:" + port, withCA, `is not valid for "localhost", but for example.com, *.example.com, 127.0.0.1, ::1`},
		{mutual.URL, withCA, "the server requires a client certificate: give --cert and --key"},
		{"unix:///nowhere/socket", plain, "there is no socket /nowhere/socket"},
		{"unixs:///nowhere/socket", plain, "there is no socket /nowhere/socket"},
		{secureSocket, withCA, `not valid for the name of the socket, "etcd.sock", but for example.com`},
		{"unix://" + socket, plain, "the server speaks TLS: use " + secureSocket},
		{"unixs://" + plainSocket, withCA, "the server does not speak TLS: use unix://" + plainSocket},
		{"unix://" + plainSocket, plain, ""},
		{"ftp://127.0.0.1:1", plain, `unknown scheme "ftp"`},
		{"127.0.0.1", plain, "no port"},
		{"http://no-such-host.invalid:1", plain, ""},
	} {
		got := Diagnose(context.Background(), c.endpoint, c.o)
		if c.want == "" && got != "" && !strings.Contains(c.endpoint, "invalid") || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.endpoint, got, c.want)
		}
	}
}

func TestFilesAreNamedInErrors(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, f := range map[string]Files{
		"--cacert: open /none":                           {CA: "/none"},
		"--cacert " + text + " holds no certificate":     {CA: text},
		"--cert: open /none":                             {Cert: "/none", Key: text},
		"--key: open /none":                              {Cert: text, Key: "/none"},
		"--cert " + text + " (not in PEM format), --key": {Cert: text, Key: text},
	} {
		f.CAOption, f.CertOption, f.KeyOption = "--cacert", "--cert", "--key"
		if _, err := f.Config(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want %s", f, err, want)
		}
	}
}
