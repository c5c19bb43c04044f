// Package grpctest is shared by the tests of the transport's packages: gRPC's interoperability
// service, a server of all protocols on a loopback port, gRPC clients, and an HTTP/2 client that
// works frame by frame.
package grpctest

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"cairn/internal/grpcserver"
	"cairn/internal/http1"
	"cairn/internal/http2"
	"cairn/internal/httpbridge"
	"cairn/internal/portmux"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// Service is gRPC's own interoperability service. Unary and Duplex, if not nil, replace a call.
type Service struct {
	pb.UnimplementedTestServiceServer
	Unary  func(context.Context, *pb.SimpleRequest) (*pb.SimpleResponse, error)
	Duplex func(pb.TestService_FullDuplexCallServer) error
}

// EmptyCall implements the service.
func (s *Service) EmptyCall(context.Context, *pb.Empty) (*pb.Empty, error) {
	return &pb.Empty{}, nil
}

// UnaryCall sends a body of the requested size.
func (s *Service) UnaryCall(ctx context.Context, r *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	if s.Unary != nil {
		return s.Unary(ctx, r)
	}
	return &pb.SimpleResponse{Payload: &pb.Payload{Body: Pattern(int(r.ResponseSize))}}, nil
}

// StreamingOutputCall sends a body for each requested size.
func (s *Service) StreamingOutputCall(r *pb.StreamingOutputCallRequest, out pb.TestService_StreamingOutputCallServer) error {
	for _, p := range r.ResponseParameters {
		if err := out.Send(&pb.StreamingOutputCallResponse{Payload: &pb.Payload{Body: Pattern(int(p.Size))}}); err != nil {
			return err
		}
	}
	return nil
}

// StreamingInputCall adds up the sizes of the bodies.
func (s *Service) StreamingInputCall(in pb.TestService_StreamingInputCallServer) error {
	sum := 0
	for {
		m, err := in.Recv()
		if errors.Is(err, io.EOF) {
			return in.SendAndClose(&pb.StreamingInputCallResponse{AggregatedPayloadSize: int32(sum)})
		}
		if err != nil {
			return err
		}
		sum += len(m.Payload.GetBody())
	}
}

// FullDuplexCall serves each message as StreamingOutputCall does.
func (s *Service) FullDuplexCall(st pb.TestService_FullDuplexCallServer) error {
	if s.Duplex != nil {
		return s.Duplex(st)
	}
	for {
		m, err := st.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if m.ResponseStatus != nil {
			return status.Error(codes.Code(m.ResponseStatus.Code), m.ResponseStatus.Message)
		}
		for _, p := range m.ResponseParameters {
			if err := st.Send(&pb.StreamingOutputCallResponse{Payload: &pb.Payload{Body: Pattern(int(p.Size))}}); err != nil {
				return err
			}
		}
	}
}

// pattern is the longest that Pattern has made. Under the race detector a copy costs a hundredth of
// writing byte by byte.
var pattern struct {
	sync.Mutex
	bytes []byte // guarded by Mutex
}

// Pattern returns n bytes in which a lost, doubled or swapped piece is detectable.
func Pattern(n int) []byte {
	pattern.Lock()
	defer pattern.Unlock()
	for i := len(pattern.bytes); i < n; i++ {
		pattern.bytes = append(pattern.bytes, byte(i^i>>8^i>>16))
	}
	return append(make([]byte, 0, n), pattern.bytes[:n]...)
}

// Options configures a Server. The zero value serves gRPC, and 404 to other requests.
type Options struct {
	GRPC  grpcserver.Options
	HTTP2 http2.Options
	Mux   portmux.Options
	HTTP1 http1.Options
	HTTP  http.Handler // served over both versions of HTTP
	TLS   *tls.Config  // of the port
	// Tune, if not nil, changes limits before the first connection.
	Tune func(*http2.Server)
}

// Server is a whole transport: all protocols on one port.
type Server struct {
	*grpcserver.Server
	Mux *portmux.Server
	tls *tls.Config
}

// New returns a server without services and listeners.
func New(o Options) *Server {
	if o.HTTP == nil {
		o.HTTP = http.NotFoundHandler()
	}
	g := grpcserver.New(o.GRPC)
	o.HTTP2.Protocol = portmux.Router{GRPC: g, HTTP: httpbridge.New(httpbridge.Options{Handler: o.HTTP})}
	o.HTTP2.MaxBodyBytes = o.GRPC.MaxRecvBytes
	engine := http2.NewServer(o.HTTP2)
	if o.Tune != nil {
		o.Tune(engine)
	}
	o.HTTP1.Handler = o.HTTP
	o.Mux.HTTP2, o.Mux.HTTP1 = engine, http1.New(o.HTTP1)
	return &Server{Server: g, Mux: portmux.New(o.Mux), tls: o.TLS}
}

// Serve serves a listener until Close or Shutdown.
func (s *Server) Serve(l net.Listener) error { return s.Mux.Serve(l, s.tls) }

// Shutdown stops the server as portmux.Server.Shutdown does.
func (s *Server) Shutdown(ctx context.Context) error { return s.Mux.Shutdown(ctx) }

// Close stops the server as portmux.Server.Close does.
func (s *Server) Close() { s.Mux.Close() }

// Listen serves on a loopback port until the test ends and returns the address.
func (s *Server) Listen(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; !errors.Is(err, portmux.ErrServerStopped) {
			t.Errorf("Serve: %v", err)
		}
	})
	return l.Addr().String()
}

// Start serves svc, or an unchanged Service when it is nil, until the test ends.
func Start(t testing.TB, opts Options, svc *Service) (*Server, string) {
	t.Helper()
	s := New(opts)
	if svc == nil {
		svc = &Service{}
	}
	pb.RegisterTestServiceServer(s, svc)
	return s, s.Listen(t)
}

// Dial returns a connection that is closed when the test ends.
func Dial(t testing.TB, addr string, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	opts = append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20), grpc.MaxCallSendMsgSize(64<<20)),
	}, opts...)
	cc, err := grpc.NewClient(addr, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	return cc
}

// Client returns a client with its own connection.
func Client(t testing.TB, addr string, opts ...grpc.DialOption) pb.TestServiceClient {
	return pb.NewTestServiceClient(Dial(t, addr, opts...))
}

// Context returns a context that ends with the test, or after 3 minutes: under the race detector on
// a busy machine some tests take one.
func Context(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// WantCode fails the test unless err has the code, and the text if that is not empty.
func WantCode(t testing.TB, err error, code codes.Code, text string) {
	t.Helper()
	s, _ := status.FromError(err)
	if s.Code() != code || (text != "" && s.Message() != text) {
		t.Fatalf("got %v %q, want %v %q", s.Code(), s.Message(), code, text)
	}
}

// EchoMetadata sends the request's x-echo headers back, as header and as trailer.
func EchoMetadata(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	if _, ok := peer.FromContext(ctx); !ok {
		return status.Error(codes.Internal, "no peer")
	}
	if err := grpc.SetHeader(ctx, metadata.MD{"x-echo": md["x-echo"]}); err != nil {
		return err
	}
	return grpc.SetTrailer(ctx, metadata.MD{"x-echo-bin": md["x-echo-bin"]})
}

// DialTLS is Dial for a port with TLS, whose certificate it does not verify.
func DialTLS(t testing.TB, addr string) *grpc.ClientConn {
	creds := credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})
	return Dial(t, addr, grpc.WithTransportCredentials(creds))
}
