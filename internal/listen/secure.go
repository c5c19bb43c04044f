package listen

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"cairn/internal/certs"
	"cairn/internal/handshake"
)

type security struct {
	config   *tls.Config
	failures *certs.Failures
	turns    *handshake.Turns
}

// Secure enables TLS on a listener whose address uses it. failures logs failed handshakes; turns
// limits those at the same time, for all listeners that share it. For other addresses it does
// nothing.
func (l *Listener) Secure(config *tls.Config, failures *certs.Failures, turns *handshake.Turns) {
	if l.IsSecure() {
		l.secure = &security{config, failures, turns}
	}
}

// Accept implements net.Listener. The handshake happens in the connection's first Read or Write, or
// in its HandshakeContext, so that a slow client does not keep others from being accepted.
func (l *Listener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil || l.secure == nil {
		return nc, err
	}
	below := l.secure.turns.Conn(nc, nil)
	return &Conn{Conn: tls.Server(below, l.secure.config), below: below, failures: l.secure.failures}, nil
}

// Conn is a TLS connection.
type Conn struct {
	*tls.Conn
	below    *handshake.Conn
	failures *certs.Failures

	once sync.Once
	err  error // of the handshake
}

// HandshakeContext makes the handshake, once. It logs a failure, and responds to a client without
// TLS.
func (c *Conn) HandshakeContext(ctx context.Context) error {
	c.once.Do(func() {
		if c.err = c.below.Handshake(ctx, c.Conn); c.err == nil {
			return
		}
		c.failures.Add(c.RemoteAddr(), c.LocalAddr(), c.err)
		if header := (tls.RecordHeaderError{}); errors.As(c.err, &header) && header.Conn != nil {
			respondPlain(c.below.NetConn(), header.RecordHeader[:])
			return
		}
		if c.below.SetDeadline(time.Now().Add(responseTimeout)) == nil {
			linger(c.below.NetConn())
		}
	})
	return c.err
}

// Handshake is HandshakeContext without a time limit.
func (c *Conn) Handshake() error { return c.HandshakeContext(context.Background()) }

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	if err := c.Handshake(); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	if err := c.Handshake(); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

const (
	needsTLS = "this port speaks TLS only: use https:// in the endpoint"
	// responseTimeout limits the wait for a client without TLS.
	responseTimeout = time.Second
)

// respondPlain sends a client without TLS, in its own protocol, the reason for the refusal: with
// HTTP/2 by GOAWAY, with HTTP/1 by a response. head is the first bytes from the client.
func respondPlain(nc net.Conn, head []byte) {
	var response []byte
	switch {
	case string(head) == "PRI *":
		response = goAway(needsTLS)
	case startsHTTP(string(head)):
		response = []byte("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n" + needsTLS + "\n")
	default:
		return
	}
	if nc.SetDeadline(time.Now().Add(responseTimeout)) != nil {
		return
	}
	if _, err := nc.Write(response); err != nil {
		return
	}
	linger(nc)
}

// linger reads what a refused client sends until it closes the connection, or the deadline. Closing
// with unread data would reset the connection, and could take the response, or the alert of TLS
// that says what is wrong, with it.
func linger(nc net.Conn) {
	if half, ok := nc.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(nc, 64<<10))
	}
}

// startsHTTP reports whether the first five bytes can be those of an HTTP/1 request.
func startsHTTP(head string) bool {
	for _, method := range []string{"GET /", "POST ", "PUT /", "HEAD ", "DELET", "OPTIO", "PATCH", "CONNE", "TRACE"} {
		if strings.HasPrefix(method, head) {
			return true
		}
	}
	return false
}

// goAway is the GOAWAY of an HTTP/2 server that accepts no requests (RFC 9113, 6.5 and 6.8).
func goAway(reason string) []byte {
	const frameSettings, frameGoAway, inadequateSecurity = 4, 7, 0xc
	b := []byte{0, 0, 0, frameSettings, 0, 0, 0, 0, 0}
	b = append(b, 0, 0, byte(8+len(reason)), frameGoAway, 0, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, 0) // no stream was processed
	b = binary.BigEndian.AppendUint32(b, inadequateSecurity)
	return append(b, reason...)
}
