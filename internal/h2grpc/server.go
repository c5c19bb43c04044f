package h2grpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
)

// ErrServerStopped is what Serve returns after Shutdown or Close.
var ErrServerStopped = errors.New("h2grpc: server stopped")

// Options configures a Server. The zero value serves gRPC with the defaults named below.
type Options struct {
	// MaxConns limits the connections that are open at a time, whatever they speak; one more is
	// closed at once. It is there so that files can still be opened when somebody opens connections
	// for ever. 0 means no limit.
	MaxConns int
	// MaxConcurrentStreams limits the calls that a connection may have open; 0 means 65536.
	MaxConcurrentStreams uint32
	// MaxRecvBytes limits one request message, 0 means 4 MiB; MaxSendBytes one answer, 0
	// means no limit. Beyond it the call fails with ResourceExhausted.
	MaxRecvBytes, MaxSendBytes int
	// MaxHeaderBytes limits the header list of a request; 0 means 64 KiB.
	MaxHeaderBytes int
	// MaxConnRecvBytes limits the request bytes that a connection may have brought in and
	// that no handler has taken yet; 0 means 64 MiB, at least four times MaxRecvBytes.
	MaxConnRecvBytes int
	// MaxConnSendBytes limits the encoded answers of a connection that wait for the peer's
	// flow control; above it handlers wait before they encode. 0 means 4 MiB.
	MaxConnSendBytes int
	// InitialWindow is the flow control window offered per stream (0: 256 KiB), InitialConnWindow
	// the one per connection (0: 1 MiB).
	InitialWindow, InitialConnWindow int32

	UnaryInterceptor  grpc.UnaryServerInterceptor
	StreamInterceptor grpc.StreamServerInterceptor

	// HTTP serves HTTP/2 requests whose content-type is not application/grpc. nil refuses those.
	HTTP http.Handler
	// HTTP1 serves HTTP/1.x connections, and is stopped with the server. nil refuses those.
	HTTP1 ConnServer

	// KeepaliveTime is how long a connection may be silent before it is pinged (0: 2 h),
	// KeepaliveTimeout how long the answer may take (0: 20 s).
	KeepaliveTime, KeepaliveTimeout time.Duration
	// KeepaliveMinTime is the least time between a client's pings (0: 5 s, as etcd has it);
	// KeepalivePermitWithoutStream allows them while no call is open. The third offence ends
	// the connection with ENHANCE_YOUR_CALM "too_many_pings", as grpc-go's server does.
	KeepaliveMinTime             time.Duration
	KeepalivePermitWithoutStream bool
	// ConnectTimeout limits the time until a connection's first bytes (0: 120 s),
	// WriteTimeout how long one write to the socket may be stuck (0: 60 s).
	ConnectTimeout, WriteTimeout time.Duration

	// Inline, when it says true for a method and its encoded request, runs the handler on
	// the connection's reading goroutine: no hand-over, no wake-up. Meant for handlers that
	// need microseconds. One that has to wait after all must ask its context for Done
	// before it does: then another goroutine reads on.
	Inline func(fullMethod string, request []byte) bool

	// Received and Sent are told of the bytes of each read and write of an HTTP/2 connection. nil:
	// nobody is.
	Received, Sent func(bytes int)

	// Logger gets what peers do wrong (debug) and what fails here (warn). nil discards.
	Logger *slog.Logger
}

func (o *Options) setDefaults() {
	def := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	defDur := func(p *time.Duration, v time.Duration) {
		if *p <= 0 {
			*p = v
		}
	}
	if o.MaxConcurrentStreams == 0 {
		o.MaxConcurrentStreams = 65536
	}
	def(&o.MaxRecvBytes, 4<<20)
	def(&o.MaxSendBytes, 1<<31-1)
	def(&o.MaxHeaderBytes, 64<<10)
	def(&o.MaxConnRecvBytes, max(64<<20, 4*o.MaxRecvBytes))
	def(&o.MaxConnSendBytes, 4<<20)
	if o.InitialWindow <= 0 {
		o.InitialWindow = 256 << 10
	}
	o.InitialConnWindow = max(o.InitialConnWindow, defaultWindow)
	if o.InitialConnWindow == defaultWindow {
		o.InitialConnWindow = 1 << 20
	}
	defDur(&o.KeepaliveTime, 2*time.Hour)
	defDur(&o.KeepaliveTimeout, 20*time.Second)
	defDur(&o.KeepaliveMinTime, 5*time.Second)
	defDur(&o.ConnectTimeout, 120*time.Second)
	defDur(&o.WriteTimeout, 60*time.Second)
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

// service is a registered service, method one of its methods.
type service struct {
	desc *grpc.ServiceDesc
	impl any
}

type method struct {
	fullName string
	impl     any
	unary    *grpc.MethodDesc // nil for streams
	stream   *grpc.StreamDesc
	info     *grpc.StreamServerInfo
}

// Server serves gRPC, and HTTP beside it, on any number of listeners. Register every service
// before the first Serve.
type Server struct {
	opts     Options
	services map[string]service
	methods  map[string]*method // by "/service/method"; read-only once serving
	workers  workerPool
	open     atomic.Int64 // connections

	mu        sync.Mutex // guards the fields below
	serving   bool
	stopping  bool
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	sniffing  map[net.Conn]struct{}
	idle      chan struct{} // closed when stopping and the last connection has gone
	stopWatch chan struct{} // ends the janitor
}

// New returns a server that has no services yet.
func New(opts Options) *Server {
	opts.setDefaults()
	return &Server{
		opts:      opts,
		services:  make(map[string]service),
		methods:   make(map[string]*method),
		listeners: make(map[net.Listener]struct{}),
		conns:     make(map[*conn]struct{}),
		sniffing:  make(map[net.Conn]struct{}),
		idle:      make(chan struct{}),
		stopWatch: make(chan struct{}),
	}
}

// RegisterService implements grpc.ServiceRegistrar. It panics when the service is registered
// twice, when impl does not implement it, and after Serve: all three are mistakes of the program.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, impl any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serving {
		panic(fmt.Sprintf("h2grpc: register %q: the server is serving already", desc.ServiceName))
	}
	if _, dup := s.services[desc.ServiceName]; dup {
		panic(fmt.Sprintf("h2grpc: register %q: registered already", desc.ServiceName))
	}
	if impl != nil && desc.HandlerType != nil {
		want := reflect.TypeOf(desc.HandlerType).Elem()
		if !reflect.TypeOf(impl).Implements(want) {
			panic(fmt.Sprintf("h2grpc: register %q: %T does not implement %v", desc.ServiceName, impl, want))
		}
	}
	s.services[desc.ServiceName] = service{desc: desc, impl: impl}
	for i := range desc.Methods {
		m := &method{fullName: "/" + desc.ServiceName + "/" + desc.Methods[i].MethodName, impl: impl, unary: &desc.Methods[i]}
		s.methods[m.fullName] = m
	}
	for i := range desc.Streams {
		d := &desc.Streams[i]
		m := &method{fullName: "/" + desc.ServiceName + "/" + d.StreamName, impl: impl, stream: d}
		m.info = &grpc.StreamServerInfo{FullMethod: m.fullName, IsClientStream: d.ClientStreams, IsServerStream: d.ServerStreams}
		s.methods[m.fullName] = m
	}
}

// GetServiceInfo lists services and methods, as package reflection wants them.
func (s *Server) GetServiceInfo() map[string]grpc.ServiceInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]grpc.ServiceInfo, len(s.services))
	for name, svc := range s.services {
		info := grpc.ServiceInfo{Metadata: svc.desc.Metadata}
		for _, m := range svc.desc.Methods {
			info.Methods = append(info.Methods, grpc.MethodInfo{Name: m.MethodName})
		}
		for _, d := range svc.desc.Streams {
			info.Methods = append(info.Methods, grpc.MethodInfo{Name: d.StreamName, IsClientStream: d.ClientStreams, IsServerStream: d.ServerStreams})
		}
		out[name] = info
	}
	return out
}

// Serve accepts connections from l until Shutdown or Close, then returns ErrServerStopped. It
// closes l. Several listeners may be served at once.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		return ErrServerStopped
	}
	s.startLocked()
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
				go s.sniff(nc)
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
		// Out of descriptors, most likely: other connections have to end first.
		delay = min(max(2*delay, 5*time.Millisecond), time.Second)
		s.opts.Logger.Warn("accept connection", "address", l.Addr().String(), "error", err, "retry_in", delay)
		select {
		case <-time.After(delay):
		case <-s.stopWatch:
		}
	}
}

// startLocked starts what the first Serve needs.
func (s *Server) startLocked() {
	if s.serving {
		return
	}
	s.serving = true
	go s.watchConns()
}

// admit registers a fresh connection, so that Close finds it before it is known what it speaks.
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
	s.sniffing[nc] = struct{}{}
	return true
}

// addConn moves a connection from sniffing to serving HTTP/2.
func (s *Server) addConn(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sniffing, c.nc)
	if s.stopping {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) removeConn(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.open.Add(-1)
	s.signalIdleLocked()
}

func (s *Server) signalIdleLocked() {
	if !s.stopping || len(s.conns) > 0 {
		return
	}
	select {
	case <-s.idle:
	default:
		close(s.idle)
	}
}

// beginStop closes the listeners and the connections that have not said anything yet, and
// returns the others.
func (s *Server) beginStop() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopping {
		s.stopping = true
		close(s.stopWatch)
	}
	for l := range s.listeners {
		l.Close()
	}
	for nc := range s.sniffing {
		nc.Close()
	}
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.signalIdleLocked()
	return conns
}

// Shutdown stops accepting, tells every client to go away, waits for open calls and HTTP/1.x
// requests and closes. When ctx ends first, the rest is cut off as by Close and ctx's error
// comes back. Streams that never end by themselves have to be ended by their handlers.
func (s *Server) Shutdown(ctx context.Context) error {
	for _, c := range s.beginStop() {
		c.goAwayGracefully()
	}
	var errHTTP error
	if s.opts.HTTP1 != nil {
		errHTTP = s.opts.HTTP1.Shutdown(ctx)
	}
	select {
	case <-s.idle:
	case <-ctx.Done():
		s.Close()
		return ctx.Err()
	}
	s.workers.stop()
	return errHTTP
}

// Close stops at once: open calls are cancelled, connections closed. It waits for the
// connections to end but not for handlers that ignore their context.
func (s *Server) Close() {
	for _, c := range s.beginStop() {
		c.fail(ErrServerStopped)
	}
	if s.opts.HTTP1 != nil {
		s.opts.HTTP1.Close()
	}
	<-s.idle
	s.workers.stop()
}
