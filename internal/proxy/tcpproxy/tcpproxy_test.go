package tcpproxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

const patience = time.Minute

func listener(t *testing.T, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// named is a server that sends its name, and, after the client has sent everything, all that it has
// received.
func named(t *testing.T, name string) net.Listener {
	l := listener(t, "127.0.0.1:0")
	serveNamed(l, name)
	return l
}

func serveNamed(l net.Listener, name string) {
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if _, err := io.WriteString(conn, name); err != nil {
					return
				}
				all, err := io.ReadAll(conn)
				if err == nil {
					_, _ = conn.Write(all)
				}
			}()
		}
	}()
}

// proxied is a running proxy.
type proxied struct {
	t     *testing.T
	addr  string
	stop  context.CancelFunc
	ended chan error
}

func startProxy(t *testing.T, o Options) *proxied {
	t.Helper()
	if o.RetryDelay == 0 {
		o.RetryDelay = time.Hour
	}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	l := listener(t, "127.0.0.1:0")
	ctx, stop := context.WithCancel(context.Background())
	run := &proxied{t, l.Addr().String(), stop, make(chan error, 1)}
	go func() { run.ended <- p.Serve(ctx, l) }()
	t.Cleanup(stop)
	return run
}

func (p *proxied) dial() *net.TCPConn {
	p.t.Helper()
	conn, err := net.Dial("tcp", p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn.(*net.TCPConn)
}

// name connects and returns the first byte: the name of the server.
func (p *proxied) name() (string, *net.TCPConn) {
	p.t.Helper()
	conn, b := p.dial(), make([]byte, 1)
	if _, err := io.ReadFull(conn, b); err != nil {
		p.t.Fatal(err)
	}
	return string(b), conn
}

// TestHalfClosed: a client that has sent everything still receives the response, from an event loop
// and from a pair of goroutines.
func TestHalfClosed(t *testing.T) {
	wrap := func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return wrapped{c.(*net.TCPConn)}, nil
	}
	for name, dial := range map[string]func(context.Context, string, string) (net.Conn, error){"loop": nil, "goroutines": wrap} {
		t.Run(name, func(t *testing.T) {
			p := startProxy(t, Options{Dial: dial, Endpoints: []Endpoint{{Host: named(t, "a").Addr().String()}}})
			_, conn := p.name()
			text := bytes.Repeat([]byte("0123456789"), 100_000)
			go func() {
				_, _ = conn.Write(text)
				_ = conn.CloseWrite()
			}()
			got, err := io.ReadAll(conn)
			if err != nil || !bytes.Equal(got, text) {
				t.Errorf("got %d bytes, %v; want %d", len(got), err, len(text))
			}
		})
	}
}

// wrapped is a connection without a socket of its own, which no event loop takes.
type wrapped struct{ *net.TCPConn }

// TestEndpointsGoAndComeBack stops a server, which no client notices, and starts it again.
func TestEndpointsGoAndComeBack(t *testing.T) {
	a, b := named(t, "a"), named(t, "b")
	p := startProxy(t, Options{
		RetryDelay: 10 * time.Millisecond,
		Endpoints:  []Endpoint{{Host: a.Addr().String(), Priority: 1}, {Host: b.Addr().String(), Priority: 2}},
	})
	if got, _ := p.name(); got != "a" {
		t.Fatalf("connected with %q, want the lowest priority number", got)
	}
	a.Close()
	for range 3 {
		if got, _ := p.name(); got != "b" {
			t.Fatalf("connected with %q, want the one that is up", got)
		}
	}
	serveNamed(listener(t, a.Addr().String()), "a")
	for deadline := time.Now().Add(patience); ; {
		if got, _ := p.name(); got == "a" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the endpoint that is up again is not used")
		}
	}
}

// TestAllEndpointsDown: a cluster that has restarted is reached before the next probe.
func TestAllEndpointsDown(t *testing.T) {
	a := named(t, "a")
	a.Close()
	p := startProxy(t, Options{Endpoints: []Endpoint{{Host: a.Addr().String()}}})
	if n, err := p.dial().Read(make([]byte, 1)); n != 0 || err == nil {
		t.Fatalf("read %d bytes, %v; want the connection closed", n, err)
	}
	serveNamed(listener(t, a.Addr().String()), "a")
	if got, _ := p.name(); got != "a" {
		t.Errorf("connected with %q", got)
	}
}

// TestDrain: connections in progress continue after the stop, and new ones are refused.
func TestDrain(t *testing.T) {
	p := startProxy(t, Options{DrainTimeout: patience, Endpoints: []Endpoint{{Host: named(t, "a").Addr().String()}}})
	_, conn := p.name()
	p.stop()
	for deadline := time.Now().Add(patience); ; {
		late, err := net.Dial("tcp", p.addr)
		if err != nil {
			break
		}
		late.Close()
		if time.Now().After(deadline) {
			t.Fatal("connections are accepted after the stop")
		}
	}
	if _, err := io.WriteString(conn, "still here"); err != nil {
		t.Fatal(err)
	}
	_ = conn.CloseWrite()
	if got, err := io.ReadAll(conn); err != nil || string(got) != "still here" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := <-p.ended; err != nil {
		t.Errorf("Serve returned %v", err)
	}
}

// TestDrainIsBounded: a connection that does not end is closed.
func TestDrainIsBounded(t *testing.T) {
	p := startProxy(t, Options{DrainTimeout: time.Millisecond, Endpoints: []Endpoint{{Host: named(t, "a").Addr().String()}}})
	_, conn := p.name()
	p.stop()
	if err := <-p.ended; err != nil {
		t.Errorf("Serve returned %v", err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v; want the connection closed", err)
	}
}

func TestOptions(t *testing.T) {
	if _, err := New(Options{RetryDelay: 1}); err == nil || err.Error() != "no endpoints" {
		t.Errorf("got %v", err)
	}
	if _, err := New(Options{Endpoints: make([]Endpoint, 1)}); err == nil || err.Error() != "retry delay is 0s: want more than 0" {
		t.Errorf("got %v", err)
	}
}
