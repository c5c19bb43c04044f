package h2grpc

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
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
		s.toHTTP1(nc, &replayConn{Conn: nc, head: got})
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

// replayConn gives back what was read to recognise the protocol, then the rest.
type replayConn struct {
	net.Conn
	head []byte
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

// ReadFrom keeps sendfile and splice for the bodies that net/http copies.
func (c *replayConn) ReadFrom(r io.Reader) (int64, error) {
	if rf, ok := c.Conn.(io.ReaderFrom); ok {
		return rf.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{c.Conn}, r)
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
