package http2

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"cairn/internal/budget"
	"cairn/internal/connset"
)

// ErrServerStopped is the cause of connections that Close or Shutdown ended.
var ErrServerStopped = errors.New("http2: server stopped")

// Options configures a Server.
type Options struct {
	// Protocol serves the requests. It must not be nil.
	Protocol Protocol
	// MaxConcurrentStreams limits the requests that a connection may have open; 0 means 65536.
	MaxConcurrentStreams uint32
	// MaxBodyBytes is the largest request that a handler collects in one piece. A connection may
	// have four such requests, and at least 64 MiB, that no handler has consumed yet.
	MaxBodyBytes int

	// KeepaliveTime is how long a connection may be silent before it is pinged (0: 2 h),
	// KeepaliveTimeout how long the acknowledgement may take (0: 20 s).
	KeepaliveTime, KeepaliveTimeout time.Duration
	// KeepaliveMinTime is the minimum interval of a client's pings while a request is open (0: 5
	// s); without one it is 2 h. The third ping that arrives too early ends the connection with
	// ENHANCE_YOUR_CALM "too_many_pings", as in grpc-go's server.
	KeepaliveMinTime time.Duration

	// Budget is the source of the connections' memory; nil means that only the limits of each
	// connection apply.
	Budget *budget.Budget

	// Received and Sent, if not nil, are called with the bytes of each read and write.
	Received, Sent func(bytes int)

	// Logger logs protocol errors of peers (debug) and internal failures (warn). nil discards.
	Logger *slog.Logger
}

func (o *Options) setDefaults() {
	setDuration := func(p *time.Duration, v time.Duration) {
		if *p <= 0 {
			*p = v
		}
	}
	if o.MaxConcurrentStreams == 0 {
		o.MaxConcurrentStreams = 65536
	}
	setDuration(&o.KeepaliveTime, 2*time.Hour)
	setDuration(&o.KeepaliveTimeout, 20*time.Second)
	setDuration(&o.KeepaliveMinTime, 5*time.Second)
	if o.Received == nil {
		o.Received = func(int) {}
	}
	if o.Sent == nil {
		o.Sent = func(int) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Server serves HTTP/2 connections that its caller has accepted.
type Server struct {
	opts    Options
	limits  limits
	workers workerPool
	conns   *connset.Set[*Conn]

	supervise sync.Once     // starts the supervisor
	stop      chan struct{} // closed when stopping: ends the supervisor
	stopOnce  sync.Once
}

// NewServer returns a server without connections.
func NewServer(opts Options) *Server {
	opts.setDefaults()
	return &Server{
		opts:   opts,
		limits: newLimits(opts.MaxBodyBytes),
		conns:  connset.New[*Conn](),
		stop:   make(chan struct{}),
	}
}

// ServeConn serves a connection until it ends, or until a request that runs on this goroutine
// transfers the reading. head has been read from nc already and begins with ClientPreface; state is
// nil on a connection without TLS. closed is called once, when the connection has been closed; it
// must not block.
func (s *Server) ServeConn(nc net.Conn, head []byte, state *tls.ConnectionState, closed func()) {
	c := newConn(s, nc, state, closed)
	if !s.add(c) {
		nc.Close()
		c.account.Close()
		closed()
		return
	}
	c.serve(head[len(ClientPreface):])
}

func (s *Server) add(c *Conn) bool {
	if !s.conns.Add(c) {
		return false
	}
	s.supervise.Do(func() { go s.watchConns() })
	return true
}

func (s *Server) remove(c *Conn) {
	c.closed()
	c.account.Close()
	s.conns.Remove(c)
}

// beginStop refuses further connections and returns those that are open.
func (s *Server) beginStop() []*Conn {
	s.stopOnce.Do(func() { close(s.stop) })
	s.conns.Stop()
	return s.conns.AppendAll(nil)
}

// Drain sends GOAWAY to every client, and refuses further connections. It does not wait; Shutdown
// does.
func (s *Server) Drain() {
	for _, c := range s.beginStop() {
		c.goAwayGracefully()
	}
}

// Shutdown sends GOAWAY to every client, waits for open requests and closes. When ctx ends first,
// Shutdown closes the remaining connections as Close does and returns ctx's error. Handlers must
// end streams that would otherwise last forever.
func (s *Server) Shutdown(ctx context.Context) error {
	s.Drain()
	select {
	case <-s.conns.Drained():
	case <-ctx.Done():
		s.Close()
		return ctx.Err()
	}
	s.workers.stop()
	return nil
}

// Close cancels open requests and closes the connections. It waits for the connections to end but
// not for handlers that ignore their context.
func (s *Server) Close() {
	for _, c := range s.beginStop() {
		c.fail(ErrServerStopped)
	}
	<-s.conns.Drained()
	s.workers.stop()
}
