package h2grpc

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// sniff finds out what a fresh connection speaks: HTTP/2 begins with a preface that no
// HTTP/1.x request can begin with (RFC 9113, 3.4); on TLS the handshake has agreed on it.
func (s *Server) sniff(nc net.Conn) {
	nc.SetReadDeadline(time.Now().Add(s.opts.ConnectTimeout))
	var state *tls.ConnectionState
	if t, ok := nc.(interface {
		HandshakeContext(context.Context) error
		ConnectionState() tls.ConnectionState
	}); ok {
		ctx, cancel := context.WithTimeout(context.Background(), s.opts.ConnectTimeout)
		err := t.HandshakeContext(ctx)
		cancel()
		if err != nil {
			s.opts.Logger.Debug("TLS handshake", "remote", nc.RemoteAddr().String(), "error", err)
			s.forget(nc)
			return
		}
		cs := t.ConnectionState()
		if state = &cs; cs.NegotiatedProtocol != "h2" {
			// net/http sees the TLS connection itself and so fills Request.TLS.
			s.toHTTP1(nc, nc)
			return
		}
	}
	got, isHTTP2, err := readPreface(nc)
	if err != nil {
		s.forget(nc)
		return
	}
	if !isHTTP2 {
		if state != nil {
			s.forget(nc)
			return
		}
		s.toHTTP1(nc, &replayConn{Conn: nc, srv: s, head: got})
		return
	}
	nc.SetReadDeadline(time.Time{})
	newConn(s, nc, state).serve(got[len(clientPreface):])
}

// readPreface reads until the first bytes are, or cannot become, the preface.
func readPreface(nc net.Conn) (got []byte, isHTTP2 bool, err error) {
	buf := make([]byte, 4096)
	n := 0
	for {
		m, err := nc.Read(buf[n:])
		n += m
		k := min(n, len(clientPreface))
		if string(buf[:k]) != clientPreface[:k] {
			return buf[:n], false, nil
		}
		if k == len(clientPreface) {
			return buf[:n], true, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
}

func (s *Server) forget(nc net.Conn) {
	nc.Close()
	s.open.Add(-1)
	s.mu.Lock()
	delete(s.sniffing, nc)
	s.mu.Unlock()
}

// toHTTP1 hands a connection to the HTTP/1.x server. raw is how it is known to us.
func (s *Server) toHTTP1(raw, nc net.Conn) {
	raw.SetReadDeadline(time.Time{})
	s.mu.Lock()
	delete(s.sniffing, raw)
	s.mu.Unlock()
	if s.http1 == nil || !s.http1In.put(nc) {
		nc.Close()
		s.countHTTP1(nc, http.StateClosed)
	}
}

func (s *Server) startHTTP1() {
	if s.opts.HTTP == nil && s.opts.HTTP1 == nil {
		return
	}
	h := s.opts.HTTP1
	if h == nil {
		h = &http.Server{ReadHeaderTimeout: time.Minute}
	}
	if h.Handler == nil {
		h.Handler = s.opts.HTTP
	}
	tell := h.ConnState
	h.ConnState = func(nc net.Conn, state http.ConnState) {
		s.countHTTP1(nc, state)
		if tell != nil {
			tell(nc, state)
		}
	}
	// HTTP/2 never reaches it; without this, net/http would prepare to serve it on TLS.
	h.Protocols = new(http.Protocols)
	h.Protocols.SetHTTP1(true)
	s.http1 = h
	s.http1In = &handoffListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	go func() {
		if err := h.Serve(s.http1In); err != nil && !errors.Is(err, http.ErrServerClosed) {
			s.opts.Logger.Warn("serve HTTP/1", "error", err)
		}
	}()
}

// countHTTP1 notes the end of a connection on TLS, which net/http has to see itself. One that a handler takes over is not
// counted any more. Others say themselves when they are closed.
func (s *Server) countHTTP1(nc net.Conn, state http.ConnState) {
	if _, plain := nc.(*replayConn); !plain && (state == http.StateClosed || state == http.StateHijacked) {
		s.open.Add(-1)
	}
}

// replayConn is an HTTP/1 connection without TLS. It gives back what was read to recognise the protocol, then the rest. A
// client that takes nothing of an answer for Options.WriteTimeout is cut off.
type replayConn struct {
	net.Conn
	srv    *Server
	head   []byte
	closed atomic.Bool
}

// Close implements net.Conn.
func (c *replayConn) Close() error {
	if !c.closed.Swap(true) {
		c.srv.open.Add(-1)
	}
	return c.Conn.Close()
}

// writeAtOnce is how much a slow client has to take within the time limit.
const writeAtOnce = 64 << 10

// Write implements net.Conn.
func (c *replayConn) Write(p []byte) (n int, err error) {
	for {
		piece := p[:min(len(p), writeAtOnce)]
		if err := c.Conn.SetWriteDeadline(time.Now().Add(c.srv.opts.WriteTimeout)); err != nil {
			return n, err
		}
		m, err := c.Conn.Write(piece)
		n += m
		if p = p[len(piece):]; err != nil || len(p) == 0 {
			return n, err
		}
	}
}

func (c *replayConn) Read(p []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(p, c.head)
		if c.head = c.head[n:]; len(c.head) == 0 {
			c.head = nil
		}
		return n, nil
	}
	return c.Conn.Read(p)
}

// CloseWrite lets net/http end its side before it closes.
func (c *replayConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// handoffListener is a net.Listener whose connections are handed over by sniff.
type handoffListener struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *handoffListener) put(nc net.Conn) bool {
	select {
	case l.conns <- nc:
		return true
	case <-l.closed:
		return false
	}
}

// Accept implements net.Listener.
func (l *handoffListener) Accept() (net.Conn, error) {
	select {
	case nc := <-l.conns:
		return nc, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *handoffListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *handoffListener) Addr() net.Addr { return handoffAddr{} }

type handoffAddr struct{}

func (handoffAddr) Network() string { return "handoff" }
func (handoffAddr) String() string  { return "h2grpc" }
