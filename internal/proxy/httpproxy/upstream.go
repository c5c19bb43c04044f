package httpproxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// idle connections to one member that stay open
	idleMax     = 128
	idleTimeMax = 90 * time.Second // after which such a connection is closed at the next refresh
)

// conn is a connection to a member that speaks HTTP/1.1.
type conn struct {
	net.Conn
	p    *Proxy
	e    *endpoint
	raw  syscall.RawConn // of the socket; nil if there is none
	idle time.Time       // since when it has been idle
}

// pool has the idle connections to one member.
type pool struct {
	mu     sync.Mutex
	idle   []*conn // the most recently used one is at the end
	closed bool    // the member is no longer in the list
}

// take returns a connection that the member has not closed, or nil.
func (p *pool) take() *conn {
	for {
		p.mu.Lock()
		n := len(p.idle) - 1
		if n < 0 {
			p.mu.Unlock()
			return nil
		}
		c := p.idle[n]
		p.idle = p.idle[:n]
		p.mu.Unlock()
		if c.isQuiet() {
			return c
		}
		c.Close()
	}
}

// put stores a connection for the next request.
func (p *pool) put(c *conn) {
	c.idle = time.Now()
	p.mu.Lock()
	keep := !p.closed && len(p.idle) < idleMax
	if keep {
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	if !keep {
		c.Close()
	}
}

// close closes the idle connections. Later ones are stored again.
func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, c := range idle {
		c.Close()
	}
}

// closeOld closes the connections that have not been used for a while, before the member does.
func (p *pool) closeOld() {
	limit := time.Now().Add(-idleTimeMax)
	p.mu.Lock()
	n := 0
	for n < len(p.idle) && p.idle[n].idle.Before(limit) {
		n++
	}
	old := append([]*conn(nil), p.idle[:n]...)
	p.idle = append(p.idle[:0], p.idle[n:]...)
	p.mu.Unlock()
	for _, c := range old {
		c.Close()
	}
}

// isQuiet reports whether the member has neither sent anything on an idle connection nor closed it.
// A write on a closed one would succeed, and it would be unknown whether the request was carried
// out.
func (c *conn) isQuiet() bool {
	if c.raw == nil {
		return true
	}
	quiet := false
	err := c.raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		quiet = errors.Is(err, unix.EAGAIN)
		return true
	})
	return err == nil && quiet
}

// awaitBytes returns when the socket has bytes, or has ended.
func (c *conn) awaitBytes() {
	// the next read returns the error again
	_ = c.raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return !errors.Is(err, unix.EAGAIN)
	})
}

// connect returns a connection to an endpoint: an idle one, or a new one.
func (p *Proxy) connect(ctx context.Context, e *endpoint) (*conn, error) {
	if c := e.idle.take(); c != nil {
		return c, nil
	}
	nc, err := p.dial(ctx, e, "http/1.1")
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: nc, p: p, e: e}
	below := nc
	if t, ok := nc.(*tls.Conn); ok {
		below = t.NetConn()
	}
	if s, ok := below.(syscall.Conn); ok {
		c.raw, _ = s.SyscallConn() // stays nil on an error
	}
	return c, nil
}

// dial connects to an endpoint.
func (p *Proxy) dial(ctx context.Context, e *endpoint, protocol string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.DialTimeout)
	defer cancel()
	nc, err := new(net.Dialer).DialContext(ctx, e.network(), e.address)
	if err != nil || !e.isSecure() {
		return nc, err
	}
	config := p.TLS(e.host)
	config.NextProtos = []string{protocol}
	c := tls.Client(nc, config)
	if err := c.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

// send writes a part of a request.
func (c *conn) send(b []byte) error {
	if c.p.WriteTimeout > 0 {
		if err := c.SetWriteDeadline(time.Now().Add(c.p.WriteTimeout)); err != nil {
			return err
		}
	}
	_, err := c.Conn.Write(b)
	return err
}

// Read implements io.Reader, with the time limit of the proxy's options.
func (c *conn) Read(b []byte) (int, error) {
	if c.p.ReadTimeout > 0 {
		if err := c.SetReadDeadline(time.Now().Add(c.p.ReadTimeout)); err != nil {
			return 0, err
		}
	}
	return c.Conn.Read(b)
}

var readers = sync.Pool{New: func() any { return bufio.NewReader(nil) }}

func (c *conn) reader() *bufio.Reader {
	r := readers.Get().(*bufio.Reader)
	r.Reset(c)
	return r
}

func freeReader(r *bufio.Reader) {
	r.Reset(nil)
	readers.Put(r)
}
