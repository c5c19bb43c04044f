package grpcserver

import (
	"fmt"
	"log/slog"
	"reflect"
	"runtime"
	"sync"

	"google.golang.org/grpc"

	"cairn/internal/http2"
)

// Options configures a Server.
type Options struct {
	// MaxRecvBytes limits one request message; 0 means 4 MiB. Beyond it the call fails with
	// ResourceExhausted.
	MaxRecvBytes int
	// Inline, when it returns true for a method and its encoded request, runs the handler on the
	// connection's reading goroutine, which saves a wake-up. It is meant for handlers that need
	// microseconds. A handler that has to wait after all must first call Done of its context; then
	// another goroutine reads on. alone reports that the connection has no other call, so that
	// another goroutine has nothing else to do until the client sends more. nil runs no handler
	// there.
	Inline func(fullMethod string, request []byte, alone bool) bool
	// Logger logs internal failures. nil discards.
	Logger *slog.Logger
}

// sendBytesMax limits one message of a response: gRPC's length prefix has 32 bits, and clients
// written in languages with signed lengths take half of that.
const sendBytesMax = 1<<31 - 1

type service struct {
	desc *grpc.ServiceDesc
	impl any
}

// method is one method of a registered service.
type method struct {
	fullName string
	impl     any
	unary    *grpc.MethodDesc // nil for streams
	stream   *grpc.StreamDesc
	messages Messages // nil unless ServeMessages was called
}

// Server is the set of registered services, and the http2.Protocol that serves them. Register every
// service before the first connection.
type Server struct {
	opts      Options
	sendBytes int // sendBytesMax, except in tests
	// inflating has one element for each message that is being decompressed.
	inflating chan struct{}

	mu       sync.Mutex // guards services, methods and serving until serving is set
	serving  bool
	services map[string]service
	methods  map[string]*method // by "/service/method"
}

var (
	_ http2.Protocol        = (*Server)(nil)
	_ grpc.ServiceRegistrar = (*Server)(nil)
)

// New returns a server that has no services yet.
func New(opts Options) *Server {
	if opts.MaxRecvBytes <= 0 {
		opts.MaxRecvBytes = 4 << 20
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{
		opts:      opts,
		sendBytes: sendBytesMax,
		inflating: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		services:  make(map[string]service),
		methods:   make(map[string]*method),
	}
}

// RegisterService implements grpc.ServiceRegistrar. It panics when the service is registered twice,
// when impl does not implement it, and after the first connection: all three are programming
// errors.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, impl any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serving {
		panic(fmt.Sprintf("grpcserver: register %q: the server is already serving", desc.ServiceName))
	}
	if _, dup := s.services[desc.ServiceName]; dup {
		panic(fmt.Sprintf("grpcserver: register %q: already registered", desc.ServiceName))
	}
	if impl != nil && desc.HandlerType != nil {
		want := reflect.TypeOf(desc.HandlerType).Elem()
		if !reflect.TypeOf(impl).Implements(want) {
			panic(fmt.Sprintf("grpcserver: register %q: %T does not implement %v", desc.ServiceName, impl, want))
		}
	}
	s.services[desc.ServiceName] = service{desc: desc, impl: impl}
	for i := range desc.Methods {
		m := &method{fullName: "/" + desc.ServiceName + "/" + desc.Methods[i].MethodName, impl: impl, unary: &desc.Methods[i]}
		s.methods[m.fullName] = m
	}
	for i := range desc.Streams {
		m := &method{fullName: "/" + desc.ServiceName + "/" + desc.Streams[i].StreamName, impl: impl, stream: &desc.Streams[i]}
		s.methods[m.fullName] = m
	}
}

// ServeMessages makes m serve the calls of a registered method that it accepts. Call it before the
// first connection.
func (s *Server) ServeMessages(fullMethod string, m Messages) {
	s.mu.Lock()
	defer s.mu.Unlock()
	method := s.methods[fullMethod]
	if method == nil || method.stream == nil || !method.stream.ClientStreams || s.serving {
		panic(fmt.Sprintf("grpcserver: serve messages of %q: want a registered method with a stream of requests, before the first connection", fullMethod))
	}
	method.messages = m
}

// GetServiceInfo lists services and methods, for package reflection.
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

// Accept implements http2.Protocol.
func (s *Server) Accept(c *http2.Conn) http2.ConnHandler {
	s.mu.Lock()
	s.serving = true
	s.mu.Unlock()
	return &connection{srv: s, conn: c}
}
