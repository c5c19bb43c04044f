package portmux

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"cairn/internal/http2"
)

// recordHandshake is the first byte of a TLS connection (RFC 8446, 5.1).
const recordHandshake = 22

// detect detects the protocol of a new connection and passes it to its engine.
func (s *Server) detect(nc net.Conn, config *tls.Config) {
	deadline := time.Now().Add(s.opts.ConnectTimeout)
	nc.SetDeadline(deadline)
	head, isHTTP2, err := readHead(nc)
	if err != nil {
		s.drop(nc)
		return
	}
	secured := head[0] == recordHandshake
	switch {
	case secured && config == nil:
		s.rejected(nc, errors.New("TLS handshake on a port without TLS"))
		reject(nc, false, "Client sent a TLS handshake to a port that does not speak TLS: use http:// instead of https://.\n")
		s.drop(nc)
		return
	case !secured && config != nil:
		s.rejected(nc, errors.New("first record does not look like a TLS handshake"))
		reject(nc, isHTTP2, "Client sent a request without TLS to a port that speaks TLS: use https:// instead of http://.\n")
		s.drop(nc)
		return
	case !secured && !isHTTP2 && !maybeHTTP1(head):
		s.opts.Logger.Debug("neither HTTP/1 nor HTTP/2", "remote", nc.RemoteAddr().String())
		s.drop(nc)
		return
	case !secured:
		nc.SetDeadline(time.Time{})
		s.detected(nc)
		s.serve(nc, head, isHTTP2, nil)
		return
	}
	below := s.opts.Handshakes.Conn(nc, head)
	inner := tls.Server(below, config)
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	err = below.Handshake(ctx, inner)
	cancel()
	if err != nil {
		s.rejected(nc, err)
		nc.SetDeadline(time.Now().Add(rejectTimeout))
		linger(nc)
		s.drop(nc)
		return
	}
	state := inner.ConnectionState()
	head = nil
	isHTTP2 = state.NegotiatedProtocol == "h2"
	if isHTTP2 || state.NegotiatedProtocol == "" {
		var preface bool
		head, preface, err = readHead(inner)
		if err != nil || isHTTP2 && !preface {
			inner.Close()
			s.drop(nc)
			return
		}
		isHTTP2 = preface
	}
	nc.SetDeadline(time.Time{})
	s.detected(nc)
	s.serve(inner, head, isHTTP2, &state)
}

func (s *Server) serve(nc net.Conn, head []byte, isHTTP2 bool, state *tls.ConnectionState) {
	if isHTTP2 {
		s.opts.HTTP2.ServeConn(nc, head, state, s.closed)
		return
	}
	s.opts.HTTP1.ServeConn(nc, head, s.closed)
}

func (s *Server) rejected(nc net.Conn, err error) {
	if s.opts.Rejected != nil {
		s.opts.Rejected(nc.RemoteAddr(), nc.LocalAddr(), err)
		return
	}
	s.opts.Logger.Debug("rejected connection", "remote", nc.RemoteAddr().String(), "error", err)
}

// drop closes a connection that no engine has taken.
func (s *Server) drop(nc net.Conn) {
	s.detected(nc)
	nc.Close()
	s.closed()
}

// headBytes is the size of the reads of first bytes. What they return is copied: a client hello is
// half as long, a preface a tenth, and nothing remains of a connection that is closed unused.
const headBytes = 4 << 10

var headBuffers = sync.Pool{New: func() any { return new([headBytes]byte) }}

// readHead reads until the first bytes are, or cannot become, the HTTP/2 preface. On TLS ports they
// may be the beginning of a handshake.
func readHead(nc net.Conn) (head []byte, isHTTP2 bool, err error) {
	pooled := headBuffers.Get().(*[headBytes]byte)
	defer headBuffers.Put(pooled)
	buf, n := pooled[:], 0
	for {
		m, err := nc.Read(buf[n:])
		n += m
		k := min(n, len(http2.ClientPreface))
		if string(buf[:k]) != http2.ClientPreface[:k] {
			return bytes.Clone(buf[:n]), false, nil
		}
		if k == len(http2.ClientPreface) {
			return bytes.Clone(buf[:n]), true, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
}

// maybeHTTP1 reports whether head may be the beginning of an HTTP/1 request: its first line, as far
// as received, has the protocol's name.
func maybeHTTP1(head []byte) bool {
	line, _, whole := bytes.Cut(head, []byte("\n"))
	return !whole || bytes.Contains(line, []byte(" HTTP/"))
}

// reject sends a client of the wrong protocol the reason: in HTTP/1, which TLS clients report as
// "server gave HTTP response to HTTPS client", or by GOAWAY.
func reject(nc net.Conn, isHTTP2 bool, text string) {
	nc.SetDeadline(time.Now().Add(rejectTimeout))
	if isHTTP2 {
		nc.Write(http2.Rejection(text))
	} else {
		nc.Write([]byte("HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n" + text))
	}
	linger(nc)
}

// linger reads what a rejected client sends until it closes the connection, or the deadline.
// Closing with unread input would reset the connection, and the client could lose the reason: a
// text, or an alert of TLS, after which the client may already have sent its first request.
func linger(nc net.Conn) {
	half, ok := nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	buf := make([]byte, 4096)
	for n := 0; n < rejectBytesMax; {
		m, err := nc.Read(buf)
		if n += m; err != nil {
			return
		}
	}
}

const (
	rejectTimeout  = time.Second
	rejectBytesMax = 64 << 10
)
