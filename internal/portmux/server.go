package portmux

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"cairn/internal/budget"
	"cairn/internal/handshake"
)

// ErrServerStopped is returned by Serve after Shutdown or Close.
var ErrServerStopped = errors.New("portmux: server stopped")

// HTTP1 is the engine for HTTP/1 connections.
type HTTP1 interface {
	// ServeConn serves a connection of which head has been read already. It calls closed once, when
	// the connection has been closed, and may return before.
	ServeConn(nc net.Conn, head []byte, closed func())
	// Drain makes clients leave. Shutdown does so as well, and waits for open requests until ctx
	// ends. Close does not wait.
	Drain()
	Shutdown(ctx context.Context) error
	Close()
}

// HTTP2 is the engine for HTTP/2 connections.
type HTTP2 interface {
	// ServeConn is HTTP1's; state is nil on a connection without TLS.
	ServeConn(nc net.Conn, head []byte, state *tls.ConnectionState, closed func())
	Drain()
	Shutdown(ctx context.Context) error
	Close()
}

// Options configures a Server.
type Options struct {
	// HTTP1 and HTTP2 serve the connections, and are stopped with the server.
	HTTP1 HTTP1
	HTTP2 HTTP2
	// MaxConns limits the number of open connections, so that files can still be opened when
	// clients open connections without limit; one more is closed at once. 0 means no limit.
	MaxConns int
	// Budget, if not nil, is charged with connBytes for each connection; a connection for which
	// there is no memory is closed at once.
	Budget *budget.Budget
	// ConnectTimeout limits the time until a connection's first bytes, the TLS handshake included;
	// 0 means 120 s.
	ConnectTimeout time.Duration
	// Handshakes limits the TLS handshakes at the same time, for all servers that share it; nil
	// means that the server shares it with none.
	Handshakes *handshake.Turns
	// Rejected is called for each connection whose TLS handshake failed, or that used TLS on a port
	// without it, or the reverse. May be nil.
	Rejected func(remote, local net.Addr, err error)
	// Logger logs protocol errors of peers (debug) and internal failures (warn). nil discards.
	Logger *slog.Logger
}

// Server serves any number of listeners.
type Server struct {
	opts Options
	open atomic.Int64 // connections

	mu        sync.Mutex // guards the fields below
	stopping  bool
	listeners map[net.Listener]struct{}
	detecting map[net.Conn]struct{} // connections whose protocol is not known yet
	stop      chan struct{}         // closed when stopping
}

// New returns a server without listeners.
func New(opts Options) *Server {
	if opts.ConnectTimeout <= 0 {
		opts.ConnectTimeout = 120 * time.Second
	}
	if opts.Handshakes == nil {
		opts.Handshakes = handshake.NewTurns()
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{
		opts:      opts,
		listeners: make(map[net.Listener]struct{}),
		detecting: make(map[net.Conn]struct{}),
		stop:      make(chan struct{}),
	}
}

// Serve accepts connections from l until Shutdown or Close, then returns ErrServerStopped. It
// closes l. With config, clients must use TLS, and ALPN offers "h2" and "http/1.1" unless config
// sets others; without config, they must not. Several listeners may be served at once.
func (s *Server) Serve(l net.Listener, config *tls.Config) error {
	defer l.Close()
	if config != nil && len(config.NextProtos) == 0 {
		config = config.Clone()
		config.NextProtos = []string{"h2", "http/1.1"}
	}
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		return ErrServerStopped
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
	}()
	var delay time.Duration
	for {
		nc, err := l.Accept()
		if err == nil {
			delay = 0
			if s.admit(nc) {
				limitUnsent(nc)
				go s.detect(nc, config)
			}
			continue
		}
		s.mu.Lock()
		stopping := s.stopping
		s.mu.Unlock()
		if stopping {
			return ErrServerStopped
		}
		var temporary interface{ Temporary() bool }
		if !errors.As(err, &temporary) || !temporary.Temporary() {
			return fmt.Errorf("accept on %s: %w", l.Addr(), err)
		}
		// Most likely out of descriptors: other connections have to end first.
		delay = min(max(2*delay, 5*time.Millisecond), time.Second)
		s.opts.Logger.Warn("accept connection", "address", l.Addr().String(), "error", err, "retry_in", delay)
		select {
		case <-time.After(delay):
		case <-s.stop:
		}
	}
}

// admit registers a new connection, so that Close finds it before its protocol is known.
func (s *Server) admit(nc net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		nc.Close()
		return false
	}
	if n := s.open.Add(1); s.opts.MaxConns > 0 && n > int64(s.opts.MaxConns) {
		s.open.Add(-1)
		s.opts.Logger.Debug("too many connections", "remote", nc.RemoteAddr().String(), "limit", s.opts.MaxConns)
		nc.Close()
		return false
	}
	if !s.opts.Budget.TryTake(connBytes) {
		s.open.Add(-1)
		s.opts.Logger.Debug("no memory for another connection", "remote", nc.RemoteAddr().String())
		nc.Close()
		return false
	}
	s.detecting[nc] = struct{}{}
	return true
}

// connBytes is the memory of a connection without its requests and responses: buffers, stacks,
// tables. The guaranteed bytes of its account are taken in addition.
const connBytes = 24 << 10

// detected removes nc from the connections whose protocol is not known.
func (s *Server) detected(nc net.Conn) {
	s.mu.Lock()
	delete(s.detecting, nc)
	s.mu.Unlock()
}

// closed is called when a connection has been closed.
func (s *Server) closed() {
	s.open.Add(-1)
	s.opts.Budget.Give(connBytes)
}

// beginStop closes the listeners and the connections whose protocol is not known.
func (s *Server) beginStop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopping {
		s.stopping = true
		close(s.stop)
	}
	for l := range s.listeners {
		l.Close()
	}
	for nc := range s.detecting {
		nc.Close()
	}
}

// Drain stops accepting, and sends every client GOAWAY, or "Connection: close" with its next
// response. It does not wait; Shutdown does.
func (s *Server) Drain() {
	s.beginStop()
	s.opts.HTTP2.Drain()
	s.opts.HTTP1.Drain()
}

// Shutdown stops accepting, sends every client GOAWAY or "Connection: close", waits for open
// requests and closes. When ctx ends first, it closes the remaining connections as Close does and
// returns ctx's error. Handlers must end streams that would otherwise last forever.
func (s *Server) Shutdown(ctx context.Context) error {
	s.beginStop()
	http2 := make(chan error, 1)
	go func() { http2 <- s.opts.HTTP2.Shutdown(ctx) }()
	err := errors.Join(s.opts.HTTP1.Shutdown(ctx), <-http2)
	if err != nil {
		s.Close()
	}
	return err
}

// Close cancels open requests and closes the connections. It waits for the connections to end but
// not for handlers that ignore their context.
func (s *Server) Close() {
	s.beginStop()
	s.opts.HTTP1.Close()
	s.opts.HTTP2.Close()
}
