package tcpproxy

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// accepting returns a listener, and the connections that it accepts.
func accepting(t *testing.T) (net.Listener, <-chan *net.TCPConn) {
	t.Helper()
	l, conns := listener(t, "127.0.0.1:0"), make(chan *net.TCPConn)
	go func() {
		defer close(conns)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.SetDeadline(time.Now().Add(6 * patience))
			conns <- c.(*net.TCPConn)
		}
	}()
	return l, conns
}

// TestManyConnections sends random bytes in pieces of random sizes in both directions of many
// connections at once.
func TestManyConnections(t *testing.T) {
	l, conns := accepting(t)
	p := startProxy(t, Options{Endpoints: []Endpoint{{Host: l.Addr().String()}}})
	go func() {
		for c := range conns {
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c) // an error shows at the client
			}()
		}
	}()
	var clients sync.WaitGroup
	for n := range 32 {
		conn := p.dial()
		_ = conn.SetDeadline(time.Now().Add(6 * patience))
		clients.Go(func() {
			source := rand.NewChaCha8([32]byte{byte(n)})
			rng := rand.New(source)
			sent := make([]byte, 1+rng.IntN(1<<20))
			_, _ = source.Read(sent) // never fails
			go func() {
				for rest := sent; len(rest) > 0; {
					k := min(len(rest), 1+rng.IntN(200<<10))
					if _, err := conn.Write(rest[:k]); err != nil {
						return // shows in what is received
					}
					rest = rest[k:]
				}
				_ = conn.CloseWrite()
			}()
			if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("connection %d: received %d bytes, %v; sent %d", n, len(got), err, len(sent))
			}
		})
	}
	clients.Wait()
}

// TestSlowReceiver: while an endpoint does not read, the proxy accepts only what sockets buffer,
// other connections continue, and the endpoint then receives everything.
func TestSlowReceiver(t *testing.T) {
	l, conns := accepting(t)
	p := startProxy(t, Options{Endpoints: []Endpoint{{Host: l.Addr().String()}}})
	slow := p.dial()
	server := <-conns
	_ = server.SetReadBuffer(64 << 10)
	block := bytes.Repeat([]byte("0123456789abcdef"), 4<<10)
	sent := 0
	for {
		_ = slow.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		n, err := slow.Write(block)
		sent += n
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if sent > 64<<20 {
			t.Fatalf("the proxy accepted %d bytes that the endpoint does not read", sent)
		}
	}
	other := p.dial()
	if _, err := other.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(<-conns, make([]byte, 1)); err != nil {
		t.Errorf("another connection: %v", err)
	}
	_ = slow.CloseWrite()
	got, err := io.Copy(io.Discard, server)
	if err != nil || got != int64(sent) {
		t.Errorf("the endpoint received %d bytes, %v; %d were sent", got, err, sent)
	}
}

// TestReset: the reset of one connection ends the other one.
func TestReset(t *testing.T) {
	l, conns := accepting(t)
	p := startProxy(t, Options{Endpoints: []Endpoint{{Host: l.Addr().String()}}})
	for _, byClient := range []bool{true, false} {
		client := p.dial()
		server := <-conns
		from, to := client, server
		if !byClient {
			from, to = server, client
		}
		_ = from.SetLinger(0)
		from.Close()
		if n, err := to.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("by the client %v: read %d bytes, %v", byClient, n, err)
		} else if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("by the client %v: the other connection stays open", byClient)
		}
	}
}
