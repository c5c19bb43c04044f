package http1

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"cairn/internal/budget"
	"cairn/internal/connset"
)

// Options configures a Server.
type Options struct {
	// Handler serves all requests.
	Handler http.Handler
	// ReadHeaderTimeout limits the time from the first byte of a request to the end of its headers
	// (0: 10 s).
	ReadHeaderTimeout time.Duration
	// ReadTimeout is the maximum time without a byte of a body, WriteTimeout the maximum time in
	// which a client reads nothing of a response (0: 60 s).
	ReadTimeout, WriteTimeout time.Duration
	// LeastRate is the minimum rate, in bytes per second, at which a client must send a body, or
	// read a response, on average over the time in which the server waits for it, beyond the first
	// ReadTimeout or WriteTimeout (0: 512). A client that merely makes some progress is too slow.
	LeastRate int64
	// IdleTimeout is the time without a request after which an idle connection is closed; it may
	// take up to half as long again (0: 5 min).
	IdleTimeout time.Duration
	// MaxHeaderBytes limits the request line and the headers together (0: 64 KiB).
	MaxHeaderBytes int
	// Budget, if not nil, is what connections take long heads from. A request's context has the
	// account of its connection (budget.FromContext), for what a handler holds.
	Budget *budget.Budget
	// Logger logs mistakes of clients (debug) and panics of handlers (error). nil discards.
	Logger *slog.Logger
}

func (o *Options) setDefaults() {
	for _, d := range [...]struct {
		value    *time.Duration
		standard time.Duration
	}{
		{&o.ReadHeaderTimeout, 10 * time.Second},
		{&o.ReadTimeout, time.Minute},
		{&o.WriteTimeout, time.Minute},
		{&o.IdleTimeout, 5 * time.Minute},
	} {
		if *d.value <= 0 {
			*d.value = d.standard
		}
	}
	if o.LeastRate <= 0 {
		o.LeastRate = 512
	}
	if o.MaxHeaderBytes <= 0 {
		o.MaxHeaderBytes = 64 << 10
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Server serves accepted connections. Its methods may be called by any goroutine.
type Server struct {
	opts  Options
	conns *connset.Set[*conn]

	mu    sync.Mutex  // guards sweep, and conn.sweptTurns and conn.sweeps of all connections
	sweep *time.Timer // runs closeUnused; nil while there are no connections
}

// New returns a server without connections.
func New(opts Options) *Server {
	opts.setDefaults()
	return &Server{opts: opts, conns: connset.New[*conn]()}
}

// ServeConn serves a connection until it ends; head has bytes that were read from it already.
// closed is called when the connection has been closed, also by a handler that has hijacked it.
// ServeConn may return earlier, and does not retain head.
func (s *Server) ServeConn(nc net.Conn, head []byte, closed func()) {
	c := newConn(s, nc, closed)
	if !s.add(c) {
		c.close()
		return
	}
	if len(head) > 0 {
		c.socket.prepend(head)
	}
	c.serve()
}

func (s *Server) add(c *conn) bool {
	if !s.conns.Add(c) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sweep == nil {
		s.sweep = time.AfterFunc(s.opts.IdleTimeout/2, s.closeUnused)
	}
	return true
}

// sweepsUnused is the number of sweeps, one per half of IdleTimeout, that must find a connection
// without a new request before it is closed: between the first and the last, IdleTimeout passes.
const sweepsUnused = 3

// closeUnused closes the connections on which no request has begun or ended for IdleTimeout. A
// periodic sweep is cheaper than a deadline for each request.
func (s *Server) closeUnused() {
	s.mu.Lock()
	var unused []*conn
	conns := s.conns.AppendAll(nil)
	for _, c := range conns {
		if n := c.turns.Load(); n != c.sweptTurns {
			c.sweptTurns, c.sweeps = n, 0
		}
		if c.sweeps++; c.sweeps >= sweepsUnused {
			unused = append(unused, c)
		}
	}
	if s.sweep = nil; len(conns) > 0 {
		s.sweep = time.AfterFunc(s.opts.IdleTimeout/2, s.closeUnused)
	}
	s.mu.Unlock()
	for _, c := range unused {
		c.closeIdle() // does not close one with a request in progress, such as a long poll
	}
}

// remove deletes a connection that has ended or was hijacked.
func (s *Server) remove(c *conn) { s.conns.Remove(c) }

// stop starts the shutdown, and returns the open connections.
func (s *Server) stop() []*conn {
	s.conns.Stop()
	return s.conns.AppendAll(nil)
}

// Drain makes every following response the last one of its connection, and refuses further
// connections. It does not wait, and leaves idle connections open: a request may be on the way.
func (s *Server) Drain() { s.conns.Stop() }

// Shutdown closes idle connections and waits for the responses to requests in progress, but not for
// hijacked connections. When ctx ends first, it returns the context's error, and the requests
// continue: see Close.
func (s *Server) Shutdown(ctx context.Context) error {
	for _, c := range s.stop() {
		c.closeIdle()
	}
	select {
	case <-s.conns.Drained():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close closes all connections at once. It does not wait for handlers.
func (s *Server) Close() {
	for _, c := range s.stop() {
		c.abort(errClosed)
	}
}

var errClosed = errors.New("http1: server closed")
