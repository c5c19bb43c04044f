package listen

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"cairn/internal/certs"
	"cairn/internal/handshake"
	"cairn/test/pki"
)

// lines is a log that may be read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestSchemes serves HTTP on each kind of address.
func TestSchemes(t *testing.T) {
	dir := t.TempDir()
	ca := pki.NewAuthority(t, "ca")
	caFile := pki.Write(t, filepath.Join(dir, "ca"), ca.PEM())
	files := ca.Issue(t, pki.Spec{Hosts: []string{"127.0.0.1", "localhost"}}).Write(t, dir, "server")
	source, err := certs.New(certs.Options{CertFile: files.Cert, KeyFile: files.Key})
	if err != nil {
		t.Fatal(err)
	}
	client, err := certs.New(certs.Options{TrustedCAFile: caFile})
	if err != nil {
		t.Fatal(err)
	}
	var log lines
	all, err := Open(t.Context(), []Address{
		{"http", "127.0.0.1:0"}, {"https", "127.0.0.1:0"}, {"unix", filepath.Join(dir, "s")}, {"unixs", filepath.Join(dir, "ss")},
	}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		l.Secure(source.Server("http/1.1"), certs.NewFailures(slog.New(slog.NewTextHandler(&log, nil))), handshake.NewTurns())
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })}
		go server.Serve(l)
		t.Cleanup(func() { server.Close() })
		transport := &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, l.Addr().Network(), l.Addr().String())
			},
			TLSClientConfig: client.Dial("localhost"),
		}
		t.Cleanup(transport.CloseIdleConnections)
		url := "http://localhost/"
		if l.IsSecure() {
			url = "https://localhost/"
		}
		resp, err := (&http.Client{Transport: transport}).Get(url)
		if err != nil {
			t.Errorf("%s: %v", l.URL(), err)
			continue
		}
		if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "hello" {
			t.Errorf("%s: %q, %v", l.URL(), body, err)
		}
		resp.Body.Close()
	}

	// the responses to clients without TLS
	if got := exchange(t, all[1].Addr(), "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 400 ") || !strings.Contains(got, needsTLS) {
		t.Errorf("HTTP/1: %q", got)
	}
	if got := exchange(t, all[1].Addr(), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"); !strings.HasSuffix(got, needsTLS) {
		t.Errorf("HTTP/2: %q", got)
	}
	if got := exchange(t, all[1].Addr(), "\x00\x01\x02\x03\x04\x05"); strings.Contains(got, needsTLS) {
		t.Errorf("neither: %q", got)
	}
	if n := strings.Count(log.String(), "the client does not speak TLS"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, log.String())
	}
}

// exchange sends bytes and returns everything that comes back.
func exchange(t *testing.T, to net.Addr, request string) string {
	t.Helper()
	nc, err := net.Dial(to.Network(), to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := io.WriteString(nc, request); err != nil {
		t.Fatal(err)
	}
	if err := nc.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	response, _ := io.ReadAll(bufio.NewReader(nc))
	return string(response)
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	taken, err := Open(t.Context(), []Address{{"http", "127.0.0.1:0"}, {"unix", filepath.Join(dir, "s")}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	free := filepath.Join(dir, "free")
	for want, address := range map[string]Address{
		"address already in use; stop what listens there": {"http", taken[0].Addr().String()},
		"listen on " + dir + "/s: address already in use": {"unix", filepath.Join(dir, "s")},
		"cannot assign requested address":                 {"http", "192.0.2.1:0"},
		"or give another path":                            {"unixs", filepath.Join(dir, "s")},
		"no such file or directory; create its directory": {"unix", filepath.Join(dir, "none", "s")},
	} {
		if _, err := Open(t.Context(), []Address{{"unix", free}, address}, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", address, err, want)
		}
		if _, err := os.Stat(free); err == nil {
			t.Errorf("%v: the first address stayed bound", address)
		}
	}
	// a socket left by a killed process
	stale := filepath.Join(dir, "stale")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: stale}); err != nil {
		t.Fatal(err)
	}
	syscall.Close(fd)
	l, err := Open(t.Context(), []Address{{"unix", stale}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	l[0].Close()
	for _, l := range taken {
		l.Close()
	}
}

func TestInherited(t *testing.T) {
	passed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	i := Inherited{&[]net.Listener{passed, other}}
	_, port, _ := net.SplitHostPort(passed.Addr().String())
	got, err := Open(t.Context(), []Address{{"http", "localhost:" + port}}, Options{Inherited: i})
	if err != nil || got[0].Listener != passed {
		t.Fatalf("got %v, %v", got, err)
	}
	defer got[0].Close()
	if left := i.Left(); len(left) != 1 || left[0] != other.Addr().String() {
		t.Errorf("left %v", left)
	}
}

func TestHandshakeTimeout(t *testing.T) {
	config := &tls.Config{} //nolint:gosec // never used: the client sends nothing
	l, err := Open(t.Context(), []Address{{"https", "127.0.0.1:0"}}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l[0].Close()
	var log lines
	l[0].Secure(config, certs.NewFailures(slog.New(slog.NewTextHandler(&log, nil))), handshake.NewTurns())
	nc, err := net.Dial("tcp", l[0].Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c, err := l[0].Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.(*Conn).HandshakeContext(ctx); err == nil {
		t.Error("the handshake outlived its context")
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("read from a connection whose handshake failed")
	}
}
