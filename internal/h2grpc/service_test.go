package h2grpc_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"cairn/internal/h2grpc"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// testService answers gRPC's own interoperability service. Hooks let a test replace a call.
type testService struct {
	pb.UnimplementedTestServiceServer
	unary func(context.Context, *pb.SimpleRequest) (*pb.SimpleResponse, error)
	duplx func(pb.TestService_FullDuplexCallServer) error
}

func (s *testService) EmptyCall(context.Context, *pb.Empty) (*pb.Empty, error) {
	return &pb.Empty{}, nil
}

func (s *testService) UnaryCall(ctx context.Context, r *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	if s.unary != nil {
		return s.unary(ctx, r)
	}
	return &pb.SimpleResponse{Payload: &pb.Payload{Body: pattern(int(r.ResponseSize))}}, nil
}

func (s *testService) StreamingOutputCall(r *pb.StreamingOutputCallRequest, out pb.TestService_StreamingOutputCallServer) error {
	for _, p := range r.ResponseParameters {
		if err := out.Send(&pb.StreamingOutputCallResponse{Payload: &pb.Payload{Body: pattern(int(p.Size))}}); err != nil {
			return err
		}
	}
	return nil
}

func (s *testService) StreamingInputCall(in pb.TestService_StreamingInputCallServer) error {
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

func (s *testService) FullDuplexCall(st pb.TestService_FullDuplexCallServer) error {
	if s.duplx != nil {
		return s.duplx(st)
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
			if err := st.Send(&pb.StreamingOutputCallResponse{Payload: &pb.Payload{Body: pattern(int(p.Size))}}); err != nil {
				return err
			}
		}
	}
}

// pattern is n bytes that show a lost, doubled or swapped piece.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return b
}

// start serves svc and returns the address. The server is closed when the test ends.
func start(t testing.TB, opts h2grpc.Options, svc *testService) (*h2grpc.Server, string) {
	t.Helper()
	s := h2grpc.New(opts)
	if svc == nil {
		svc = &testService{}
	}
	pb.RegisterTestServiceServer(s, svc)
	return s, serve(t, s)
}

func serve(t testing.TB, s *h2grpc.Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; !errors.Is(err, h2grpc.ErrServerStopped) {
			t.Errorf("Serve: %v", err)
		}
	})
	return l.Addr().String()
}

func dial(t testing.TB, addr string, opts ...grpc.DialOption) *grpc.ClientConn {
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

func client(t testing.TB, addr string, opts ...grpc.DialOption) pb.TestServiceClient {
	return pb.NewTestServiceClient(dial(t, addr, opts...))
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func wantCode(t testing.TB, err error, code codes.Code, text string) {
	t.Helper()
	s, _ := status.FromError(err)
	if s.Code() != code || (text != "" && s.Message() != text) {
		t.Fatalf("got %v %q, want %v %q", s.Code(), s.Message(), code, text)
	}
}

// echoMetadata sends the request's x-echo headers back, as header and as trailer.
func echoMetadata(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	if _, ok := peer.FromContext(ctx); !ok {
		return status.Error(codes.Internal, "no peer")
	}
	if err := grpc.SetHeader(ctx, metadata.MD{"x-echo": md["x-echo"]}); err != nil {
		return err
	}
	return grpc.SetTrailer(ctx, metadata.MD{"x-echo-bin": md["x-echo-bin"]})
}

func dialTLS(t testing.TB, addr string) *grpc.ClientConn {
	creds := credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})
	return dial(t, addr, grpc.WithTransportCredentials(creds))
}
