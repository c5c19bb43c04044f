package handshake

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cairn/test/pki"
)

// TestTurns lists, for waiting handshakes in the order of their arrival, the order of their turns.
func TestTurns(t *testing.T) {
	for _, c := range []struct{ name, arrive, turns string }{
		{"one address: first come", "a1 a2 a3", "a1 a2 a3"},
		{"addresses rotate", "a1 a2 a3 a4 b1 c1 b2", "a1 b1 c1 a2 b2 a3 a4"},
		{"begun ones of an address first", "a1 a2 a3* a4*", "a3* a4* a1 a2"},
		{"but not before other addresses", "a1 b1 a2* b2", "a2* b1 a1 b2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				turns := newTurns(1)
				if err := turns.take(t.Context(), netip.Addr{}, false); err != nil {
					t.Fatal(err)
				}
				got := make(chan string)
				for name := range strings.FieldsSeq(c.arrive) {
					go func() {
						host := netip.AddrFrom4([4]byte{name[0]})
						if err := turns.take(t.Context(), host, strings.HasSuffix(name, "*")); err != nil {
							t.Error(err)
						}
						got <- name
					}()
					synctest.Wait()
				}
				var order []string
				for range strings.Fields(c.arrive) {
					turns.give()
					order = append(order, <-got)
				}
				turns.give()
				if got := strings.Join(order, " "); got != c.turns {
					t.Errorf("turns: got %s, want %s", got, c.turns)
				}
				if turns.taken != 0 || len(turns.hosts) != 0 || len(turns.order) != 0 {
					t.Errorf("left: %d turns, %d hosts, %d queues", turns.taken, len(turns.hosts), len(turns.order))
				}
			})
		})
	}
}

// TestLimit checks that a handshake that waits too long, or whose context ends, gets an error, and
// that its turn goes to the next one.
func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(2)
		host := netip.AddrFrom4([4]byte{1})
		for range 2 {
			if err := turns.take(t.Context(), host, false); err != nil {
				t.Fatal(err)
			}
		}
		begin := time.Now()
		if err := turns.take(t.Context(), host, false); !errors.Is(err, ErrBusy) || time.Since(begin) != waitMax {
			t.Errorf("got %v after %v, want ErrBusy after %v", err, time.Since(begin), waitMax)
		}
		ended, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if err := turns.take(ended, host, false); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context canceled", err)
		}
		third := make(chan error)
		go func() { third <- turns.take(t.Context(), host, false) }()
		synctest.Wait()
		turns.give()
		if err := <-third; err != nil {
			t.Error(err)
		}
		turns.give()
		turns.give()
		if turns.taken != 0 || len(turns.hosts) != 0 {
			t.Errorf("left: %d turns, %d hosts", turns.taken, len(turns.hosts))
		}
	})
}

// TestRest checks that a turn rests for as long as it was taken.
func TestRest(t *testing.T) {
	for taken, want := range map[time.Duration]time.Duration{
		0: 0, 400 * time.Microsecond: 400 * time.Microsecond, 20 * time.Millisecond: restMax, time.Hour: restMax,
	} {
		if got := restOf(taken); got != want {
			t.Errorf("after %v: got %v, want %v", taken, got, want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(1)
		c := turns.Conn(&net.TCPConn{}, nil)
		c.handshake = &progress{ctx: t.Context()}
		if err := c.acquire(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond) // of the bubble's clock
		c.release()
		begin := time.Now()
		if err := turns.take(t.Context(), netip.Addr{}, false); err != nil {
			t.Fatal(err)
		}
		if rested := time.Since(begin); rested != 2*time.Millisecond {
			t.Errorf("the next turn began after %v, want 2ms", rested)
		}
		turns.give()
	})
}

// certificate makes the configurations of a server and of its clients, with mutual TLS.
func certificate(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	ca := pki.NewAuthority(t, "ca")
	files := ca.Issue(t, pki.Spec{Hosts: []string{"127.0.0.1"}}).Write(t, t.TempDir(), "both")
	pair, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.Cert)
	server = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert}
	client = &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, ServerName: "127.0.0.1"}
	return server, client
}

// dialed returns both ends of a loopback connection.
func dialed(t *testing.T) (server, client net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close(); client.Close() })
	return server, client
}

// TestSlowClient has clients that stop at each point of the handshake: they keep no turn from
// others.
func TestSlowClient(t *testing.T) {
	serverTLS, clientTLS := certificate(t)
	turns := newTurns(1)
	shake := func(nc net.Conn, head []byte) (*tls.Conn, error) {
		below := turns.Conn(nc, head)
		inner := tls.Server(below, serverTLS)
		return inner, below.Handshake(t.Context(), inner)
	}
	for _, bytes := range []int{0, 1, 100} { // silent after as many bytes of the hello
		server, client := dialed(t)
		if bytes > 0 {
			if _, err := client.Write(append([]byte{22, 3, 1, 5, 0}, make([]byte, bytes)...)); err != nil {
				t.Fatal(err)
			}
		}
		go shake(server, nil)
	}
	// silent after the server's first messages
	server, client := dialed(t)
	go shake(server, nil)
	held := &holding{Conn: client, reads: make(chan struct{})}
	go tls.Client(held, clientTLS).Handshake()
	<-held.reads

	for i := range 3 {
		server, client := dialed(t)
		sent := make(chan error, 1)
		go func() {
			c := tls.Client(client, clientTLS)
			_, err := fmt.Fprintf(c, "hello %d", i)
			sent <- errors.Join(err, c.CloseWrite())
		}()
		inner, err := shake(server, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(inner)
		if want := fmt.Sprintf("hello %d", i); err != nil || string(got) != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
		if below := inner.NetConn().(*Conn); below.buffer != nil || below.head != nil {
			t.Error("the connection keeps its buffer after all bytes were read")
		}
	}
}

// holding is a client's connection that reports its first read and never returns from it.
type holding struct {
	net.Conn
	reads chan struct{}
}

func (h *holding) Read([]byte) (int, error) {
	h.Conn.Read(make([]byte, 1))
	close(h.reads)
	select {}
}

// TestWithoutTurn checks that a check that waits for a name server keeps no turn from others.
func TestWithoutTurn(t *testing.T) {
	serverTLS, clientTLS := certificate(t)
	turns := newTurns(1)
	free := func() error { // waits until the only turn is free
		err := turns.take(t.Context(), netip.Addr{}, false)
		if err == nil {
			turns.give()
		}
		return err
	}
	serverTLS.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		var during error
		return nil, errors.Join(WithoutTurn(hello.Context(), func() { during = free() }), during)
	}
	server, client := dialed(t)
	go tls.Client(client, clientTLS).Handshake()
	below := turns.Conn(server, nil)
	if err := below.Handshake(t.Context(), tls.Server(below, serverTLS)); err != nil {
		t.Fatal(err)
	}
	if err := free(); err != nil {
		t.Errorf("after the handshake: %v", err)
	}
	called := false
	if err := WithoutTurn(t.Context(), func() { called = true }); err != nil || !called {
		t.Errorf("without a handshake: called %v, %v", called, err)
	}
}

// TestBusy checks the error of a handshake that gets no turn.
func TestBusy(t *testing.T) {
	serverTLS, clientTLS := certificate(t)
	turns := newTurns(1)
	turns.taken, turns.waitMax = 1, time.Millisecond
	server, client := dialed(t)
	go tls.Client(client, clientTLS).Handshake()
	below := turns.Conn(server, nil)
	if err := below.Handshake(t.Context(), tls.Server(below, serverTLS)); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v, want ErrBusy", err)
	}
	if turns.taken != 1 {
		t.Errorf("%d turns taken, want the 1 of the test", turns.taken)
	}
}

// TestHost checks the addresses by which clients take turns.
func TestHost(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:1": "192.0.2.1", "[::ffff:192.0.2.1]:1": "192.0.2.1",
		"[2001:db8:1:2:3::4]:1": "2001:db8:1:2::", "[2001:db8:1:2:5::6]:1": "2001:db8:1:2::", "[fe80::1%eth0]:1": "fe80::",
	} {
		if got := hostOf(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(remote))); got.String() != want {
			t.Errorf("%s: got %s, want %s", remote, got, want)
		}
	}
	if got := hostOf(&net.UnixAddr{Name: "/s", Net: "unix"}); got.IsValid() {
		t.Errorf("unix: got %v", got)
	}
}

// TestHead checks that bytes that were read before are read again, and that the connection does not
// keep their buffer: thousands of long polls over TLS would each keep 4 KiB.
func TestHead(t *testing.T) {
	server, client := net.Pipe()
	defer client.Close()
	c := newTurns(1).Conn(server, append(make([]byte, 0, 4096), "head"...))
	defer c.Close()
	go io.WriteString(client, "rest")
	got := make([]byte, len("headrest"))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "headrest" {
		t.Fatalf("read %q, %v", got, err)
	}
	if c.head != nil || c.buffer != nil {
		t.Errorf("a buffer of %d bytes is kept", cap(c.head))
	}
}
