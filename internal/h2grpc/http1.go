package h2grpc

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// ConnServer serves the connections that speak HTTP/1.
type ConnServer interface {
	// ServeConn serves a connection of which head has been read already. It calls closed when the
	// connection has been closed, and may return before.
	ServeConn(nc net.Conn, head []byte, closed func())
	// Shutdown waits for requests under way until ctx ends, Close for none.
	Shutdown(ctx context.Context) error
	Close()
}

// recordHandshake is the first byte of a TLS connection (RFC 8446, 5.1).
const recordHandshake = 22

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
			s.toHTTP1(nc, nil)
			return
		}
	}
	got, isHTTP2, err := readPreface(nc)
	switch {
	case err != nil, !isHTTP2 && state != nil:
		s.forget(nc)
	case !isHTTP2 && got[0] == recordHandshake:
		// An HTTP server would wait for the end of a line that never comes, and the client with it.
		s.opts.Logger.Debug("a client speaks TLS, and this port does not", "remote", nc.RemoteAddr().String())
		s.forget(nc)
	case !isHTTP2:
		s.toHTTP1(nc, got)
	default:
		nc.SetReadDeadline(time.Time{})
		newConn(s, nc, state).serve(got[len(clientPreface):])
	}
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

// toHTTP1 hands a connection over, of which head has been read.
func (s *Server) toHTTP1(nc net.Conn, head []byte) {
	if s.opts.HTTP1 == nil {
		s.forget(nc)
		return
	}
	nc.SetReadDeadline(time.Time{})
	s.mu.Lock()
	delete(s.sniffing, nc)
	s.mu.Unlock()
	s.opts.HTTP1.ServeConn(nc, head, func() { s.open.Add(-1) })
}
