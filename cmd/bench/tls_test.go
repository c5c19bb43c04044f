package main

import (
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
)

// listenWith listens with the certificates that a server gets by its flags.
func listenWith(t *testing.T, s *secret) net.Listener {
	t.Helper()
	file := func(flag string) string {
		for _, f := range s.flags {
			if name, path, _ := strings.Cut(f, "="); name == flag {
				return path
			}
		}
		t.Fatalf("no %s in %q", flag, s.flags)
		return ""
	}
	pair, err := tls.LoadX509KeyPair(file("--cert-file"), file("--key-file"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: s.config.RootCAs, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// TestStorm starts the process that connects over and over, and checks its report, and that a
// failed handshake makes the run invalid.
func TestStorm(t *testing.T) {
	s, err := newSecret(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const enough = 8
	for _, refused := range []bool{false, true} {
		l := listenWith(t, s)
		connected := make(chan struct{}, enough)
		go func() {
			for {
				nc, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer nc.Close()
					if !refused && nc.(*tls.Conn).HandshakeContext(t.Context()) == nil {
						io.Copy(io.Discard, nc)
					}
					select {
					case connected <- struct{}{}:
					default: // the test has seen enough
					}
				}()
			}
		}()
		storm, err := startStorm(&server{client: l.Addr().String(), secret: s})
		if err != nil {
			t.Fatal(err)
		}
		for range enough {
			<-connected
		}
		r, err := storm.stop()
		switch {
		case refused && (err == nil || !strings.Contains(err.Error(), "TLS handshake")):
			t.Errorf("refused: got %v, want an error of a TLS handshake", err)
		case !refused && (err != nil || r.Requests < enough || r.Latency.P99 <= 0):
			t.Errorf("got %+v, %v, want at least %d connections", r, err, enough)
		}
	}
}

// TestSecret: a client with the certificates of a run and a server with its flags' files accept
// each other.
func TestSecret(t *testing.T) {
	s, err := newSecret(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l := listenWith(t, s)
	go func() {
		if nc, err := l.Accept(); err == nil {
			_, _ = io.WriteString(nc, "served") // fails when the client is not accepted
			_ = nc.Close()
		}
	}()
	nc, err := (&server{client: l.Addr().String(), secret: s}).dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if got, err := io.ReadAll(nc); err != nil || string(got) != "served" {
		t.Errorf("read %q, %v", got, err)
	}
}
