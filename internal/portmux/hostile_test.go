package portmux_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"cairn/internal/http1"
	"cairn/internal/portmux"
	"cairn/test/grpctest"

	pb "google.golang.org/grpc/interop/grpc_testing"
)

// The clients of this file harm only themselves: they lose their connection, and a call on another
// one succeeds before and after. Those that violate HTTP/2 are in raw_test.go.

func wantServed(t *testing.T, addr string) {
	t.Helper()
	if _, err := grpctest.Client(t, addr).EmptyCall(grpctest.Context(t), &pb.Empty{}); err != nil {
		t.Fatal(err)
	}
}

func rawConn(t *testing.T, addr string) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(time.Minute))
	return nc
}

// wantEnd reads until the server closes the connection.
func wantEnd(t *testing.T, nc net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, nc); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the connection stays open")
	}
}

// The wait for headers that arrive byte by byte, or never end, is limited.
func TestSlowHeaders(t *testing.T) {
	_, addr := grpctest.Start(t, grpctest.Options{
		HTTP:  mux(),
		HTTP1: http1.Options{ReadHeaderTimeout: 100 * time.Millisecond},
		Mux:   portmux.Options{ConnectTimeout: 100 * time.Millisecond},
	}, nil)
	for _, beginning := range []string{"GET /hello HTTP/1.1\r\nHost: a\r\nX-", "G", "PRI * HT", ""} {
		nc := rawConn(t, addr)
		io.WriteString(nc, beginning)
		wantEnd(t, nc)
	}
	wantServed(t, addr)
}

// A connection above the limit is closed, and another one is accepted when one has ended, whatever
// its protocol.
func TestMaxConns(t *testing.T) {
	speak := map[string]func(net.Conn){
		"nothing": func(net.Conn) {},
		"HTTP/1.1": func(nc net.Conn) {
			io.WriteString(nc, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
			nc.Read(make([]byte, 1))
		},
		"HTTP/2": func(nc net.Conn) { io.WriteString(nc, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"); nc.Read(make([]byte, 1)) },
	}
	for name, say := range speak {
		// Each case has its own server, because a server may notice the end of a connection late.
		_, addr := grpctest.Start(t, grpctest.Options{HTTP: mux(), Mux: portmux.Options{MaxConns: 3}}, nil)
		var open []net.Conn
		for range 3 {
			nc := rawConn(t, addr)
			say(nc)
			open = append(open, nc)
		}
		wantEnd(t, rawConn(t, addr))
		for _, nc := range open {
			nc.Close()
		}
		// The server notices it a little later.
		for deadline := time.Now().Add(time.Minute); ; {
			resp, err := http.Get("http://" + addr + "/hello")
			if err == nil {
				resp.Body.Close()
				http.DefaultClient.CloseIdleConnections()
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("connections that spoke %s are still counted: %v", name, err)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}
