package grpcserver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"cairn/internal/grpcserver"
	"cairn/test/grpctest"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func TestUnary(t *testing.T) {
	_, addr := grpctest.Start(t, grpctest.Options{}, nil)
	c := grpctest.Client(t, addr)
	ctx := grpctest.Context(t)
	if _, err := c.EmptyCall(ctx, &pb.Empty{}); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, 100, 4090, 4096, 16383, 16384, 70000} {
		r, err := c.UnaryCall(ctx, &pb.SimpleRequest{ResponseSize: int32(n)})
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if !bytes.Equal(r.Payload.GetBody(), grpctest.Pattern(n)) {
			t.Fatalf("%d bytes: wrong body", n)
		}
	}
}

func TestLargeMessagesBothWays(t *testing.T) {
	const size = 10 << 20
	svc := &grpctest.Service{Unary: func(_ context.Context, r *pb.SimpleRequest) (*pb.SimpleResponse, error) {
		return &pb.SimpleResponse{Payload: r.Payload}, nil
	}}
	_, addr := grpctest.Start(t, grpctest.Options{GRPC: grpcserver.Options{MaxRecvBytes: 16 << 20}}, svc)
	c := grpctest.Client(t, addr)
	ctx := grpctest.Context(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			r, err := c.UnaryCall(ctx, &pb.SimpleRequest{Payload: &pb.Payload{Body: grpctest.Pattern(size)}})
			if err != nil {
				t.Error(err)
				return
			}
			if !bytes.Equal(r.Payload.Body, grpctest.Pattern(size)) {
				t.Error("body differs")
			}
		})
	}
	wg.Wait()
}

func TestManyConcurrentCalls(t *testing.T) {
	svc := &grpctest.Service{Unary: func(_ context.Context, r *pb.SimpleRequest) (*pb.SimpleResponse, error) {
		return &pb.SimpleResponse{Payload: r.Payload}, nil
	}}
	_, addr := grpctest.Start(t, grpctest.Options{}, svc)
	ctx := grpctest.Context(t)
	var wg sync.WaitGroup
	for conn := range 3 {
		c := grpctest.Client(t, addr)
		for g := range 50 {
			wg.Go(func() {
				for i := range 40 {
					want := fmt.Appendf(nil, "%d/%d/%d %s", conn, g, i, strings.Repeat("x", i*g))
					r, err := c.UnaryCall(ctx, &pb.SimpleRequest{Payload: &pb.Payload{Body: want}})
					if err != nil {
						t.Error(err)
						return
					}
					if !bytes.Equal(r.Payload.Body, want) {
						t.Errorf("got %.20q, want %.20q", r.Payload.Body, want)
					}
				}
			})
		}
	}
	wg.Wait()
}

func TestErrors(t *testing.T) {
	detailed, err := status.New(codes.FailedPrecondition, "with details").WithDetails(&errdetails.ErrorInfo{Reason: "why", Domain: "d"})
	if err != nil {
		t.Fatal(err)
	}
	var answer error
	svc := &grpctest.Service{Unary: func(context.Context, *pb.SimpleRequest) (*pb.SimpleResponse, error) { return nil, answer }}
	s, addr := grpctest.Start(t, grpctest.Options{GRPC: grpcserver.Options{MaxRecvBytes: 1000}}, svc)
	s.SetSendBytesMax(500)
	cc := grpctest.Dial(t, addr)
	c := pb.NewTestServiceClient(cc)
	ctx := grpctest.Context(t)
	for _, tc := range []struct {
		err  error
		code codes.Code
		text string
	}{
		{status.Error(codes.NotFound, "gone"), codes.NotFound, "gone"},
		{status.Error(codes.OutOfRange, "100% ü\n\x00 \t世"), codes.OutOfRange, "100% ü\n\x00 \t世"},
		{errors.New("plain"), codes.Unknown, "plain"},
		{context.DeadlineExceeded, codes.DeadlineExceeded, "context deadline exceeded"},
		{fmt.Errorf("wrapped: %w", status.Error(codes.Aborted, "inner")), codes.Aborted, "wrapped: rpc error: code = Aborted desc = inner"},
		{detailed.Err(), codes.FailedPrecondition, "with details"},
	} {
		answer = tc.err
		_, err := c.UnaryCall(ctx, &pb.SimpleRequest{})
		grpctest.WantCode(t, err, tc.code, tc.text)
	}
	d := status.Convert(func() error { _, err := c.UnaryCall(ctx, &pb.SimpleRequest{}); return err }()).Details()
	if len(d) != 1 || d[0].(*errdetails.ErrorInfo).Reason != "why" {
		t.Fatalf("details %v", d)
	}
	_, err = c.UnaryCall(ctx, &pb.SimpleRequest{Payload: &pb.Payload{Body: make([]byte, 1000)}})
	grpctest.WantCode(t, err, codes.ResourceExhausted, "grpc: received message larger than max (1006 vs. 1000)")
	svc.Unary = nil
	_, err = c.UnaryCall(ctx, &pb.SimpleRequest{ResponseSize: 1000})
	grpctest.WantCode(t, err, codes.ResourceExhausted, "trying to send message larger than max (1006 vs. 500)")
	_, err = c.UnimplementedCall(ctx, &pb.Empty{})
	grpctest.WantCode(t, err, codes.Unimplemented, "method UnimplementedCall not implemented")
	for method, text := range map[string]string{
		"/nope.Service/Method":            "unknown service nope.Service",
		"/grpc.testing.TestService/Nope":  "unknown method Nope for service grpc.testing.TestService",
		"/nomethod":                       `malformed method name: "/nomethod"`,
		"/grpc.testing.TestService/a/b/c": "unknown service grpc.testing.TestService/a/b",
	} {
		grpctest.WantCode(t, cc.Invoke(ctx, method, &pb.Empty{}, &pb.Empty{}), codes.Unimplemented, text)
	}
}

func TestMetadata(t *testing.T) {
	svc := &grpctest.Service{Unary: func(ctx context.Context, _ *pb.SimpleRequest) (*pb.SimpleResponse, error) {
		if m, _ := grpc.Method(ctx); m != "/grpc.testing.TestService/UnaryCall" {
			return nil, fmt.Errorf("method %q", m)
		}
		md, _ := metadata.FromIncomingContext(ctx)
		if len(md[":authority"]) != 1 || len(md["content-type"]) != 1 || len(md["user-agent"]) != 1 || md["grpc-timeout"] != nil {
			return nil, fmt.Errorf("metadata %v", md)
		}
		return &pb.SimpleResponse{}, grpctest.EchoMetadata(ctx)
	}}
	_, addr := grpctest.Start(t, grpctest.Options{}, svc)
	c := grpctest.Client(t, addr)
	for i := range 3 {
		bin := string([]byte{0, 1, 2, 0xff, byte(i)})
		ctx := metadata.AppendToOutgoingContext(grpctest.Context(t), "x-echo", "one", "x-echo", "two", "x-echo-bin", bin)
		var h, tr metadata.MD
		if _, err := c.UnaryCall(ctx, &pb.SimpleRequest{}, grpc.Header(&h), grpc.Trailer(&tr)); err != nil {
			t.Fatal(err)
		}
		if got := h["x-echo"]; len(got) != 2 || got[0] != "one" || got[1] != "two" {
			t.Fatalf("header %v", h)
		}
		if got := tr["x-echo-bin"]; len(got) != 1 || got[0] != bin {
			t.Fatalf("trailer %q", tr)
		}
	}
}

func TestHeadersLargerThanAFrame(t *testing.T) {
	svc := &grpctest.Service{Unary: func(ctx context.Context, _ *pb.SimpleRequest) (*pb.SimpleResponse, error) {
		return &pb.SimpleResponse{}, grpctest.EchoMetadata(ctx)
	}}
	_, addr := grpctest.Start(t, grpctest.Options{}, svc)
	c := grpctest.Client(t, addr)
	long := strings.Repeat("abcdefgh", 5000)
	var h metadata.MD
	if _, err := c.UnaryCall(metadata.AppendToOutgoingContext(grpctest.Context(t), "x-echo", long), &pb.SimpleRequest{}, grpc.Header(&h)); err != nil {
		t.Fatal(err)
	}
	if h["x-echo"][0] != long {
		t.Fatal("a long header was changed")
	}
	// The client itself refuses to send more than the SETTINGS_MAX_HEADER_LIST_SIZE that the server
	// announces.
	_, err := c.UnaryCall(metadata.AppendToOutgoingContext(grpctest.Context(t), "x-echo", long+long), &pb.SimpleRequest{})
	grpctest.WantCode(t, err, codes.Internal, "")
	if _, err := c.EmptyCall(grpctest.Context(t), &pb.Empty{}); err != nil {
		t.Fatal(err)
	}
}

func TestDeadlineReachesTheHandler(t *testing.T) {
	left := make(chan time.Duration, 1)
	ended := make(chan error, 1)
	svc := &grpctest.Service{Unary: func(ctx context.Context, _ *pb.SimpleRequest) (*pb.SimpleResponse, error) {
		d, ok := ctx.Deadline()
		if !ok {
			return nil, errors.New("no deadline")
		}
		left <- time.Until(d)
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}}
	_, addr := grpctest.Start(t, grpctest.Options{}, svc)
	c := grpctest.Client(t, addr)
	// On a busy machine a call may not reach its handler within a short deadline.
	for timeout := 50 * time.Millisecond; timeout < time.Minute; timeout *= 4 {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		_, err := c.UnaryCall(ctx, &pb.SimpleRequest{})
		cancel()
		grpctest.WantCode(t, err, codes.DeadlineExceeded, "")
		select {
		case d := <-left:
			if d > timeout {
				t.Fatalf("%v of %v left", d, timeout)
			}
			if err := <-ended; err == nil {
				t.Fatal("context did not end")
			}
			return
		default:
		}
	}
	t.Fatal("no call has reached its handler")
}

func TestClientCancelReachesTheHandler(t *testing.T) {
	entered, ended := make(chan struct{}), make(chan error, 1)
	svc := &grpctest.Service{Unary: func(ctx context.Context, _ *pb.SimpleRequest) (*pb.SimpleResponse, error) {
		child, cancel := context.WithTimeout(context.WithValue(ctx, ctxKey{}, 1), time.Hour)
		defer cancel()
		close(entered)
		<-child.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	}}
	_, addr := grpctest.Start(t, grpctest.Options{}, svc)
	c := grpctest.Client(t, addr)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-entered
		cancel()
	}()
	_, err := c.UnaryCall(ctx, &pb.SimpleRequest{})
	grpctest.WantCode(t, err, codes.Canceled, "")
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatalf("handler's context: %v", err)
	}
}

func TestGzip(t *testing.T) {
	svc := &grpctest.Service{Unary: func(_ context.Context, r *pb.SimpleRequest) (*pb.SimpleResponse, error) {
		return &pb.SimpleResponse{Payload: r.Payload}, nil
	}}
	_, addr := grpctest.Start(t, grpctest.Options{GRPC: grpcserver.Options{MaxRecvBytes: 1 << 20}}, svc)
	c := grpctest.Client(t, addr)
	ctx := grpctest.Context(t)
	for _, n := range []int{0, 10, 5000, 300000} {
		r, err := c.UnaryCall(ctx, &pb.SimpleRequest{Payload: &pb.Payload{Body: grpctest.Pattern(n)}}, grpc.UseCompressor(gzip.Name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(r.Payload.GetBody(), grpctest.Pattern(n)) {
			t.Fatalf("%d bytes were changed", n)
		}
	}
	// More than a megabyte of zeros in a few bytes.
	_, err := c.UnaryCall(ctx, &pb.SimpleRequest{Payload: &pb.Payload{Body: make([]byte, 8<<20)}}, grpc.UseCompressor(gzip.Name))
	grpctest.WantCode(t, err, codes.ResourceExhausted, "")
}

func TestInline(t *testing.T) {
	release := make(chan struct{})
	svc := &grpctest.Service{Unary: func(ctx context.Context, r *pb.SimpleRequest) (*pb.SimpleResponse, error) {
		if r.FillUsername { // this call must wait, for a call on the same connection
			select {
			case <-release:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		if r.FillOauthScope {
			close(release)
		}
		return &pb.SimpleResponse{Payload: &pb.Payload{Body: grpctest.Pattern(int(r.ResponseSize))}}, nil
	}}
	_, addr := grpctest.Start(t, grpctest.Options{GRPC: grpcserver.Options{Inline: func(m string, _ []byte, _ bool) bool { return strings.HasSuffix(m, "/UnaryCall") }}}, svc)
	c := grpctest.Client(t, addr)
	ctx := grpctest.Context(t)
	var wg sync.WaitGroup
	defer wg.Wait()
	for range 20 {
		wg.Go(func() {
			if _, err := c.UnaryCall(ctx, &pb.SimpleRequest{FillUsername: true}); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			for n := range 100 {
				r, err := c.UnaryCall(ctx, &pb.SimpleRequest{ResponseSize: int32(n * 300)})
				if err != nil {
					t.Error(err)
				} else if !bytes.Equal(r.Payload.GetBody(), grpctest.Pattern(n*300)) {
					t.Error("wrong body")
				}
			}
		})
	}
	if _, err := c.UnaryCall(ctx, &pb.SimpleRequest{FillOauthScope: true}); err != nil {
		t.Error(err)
	}
}

type ctxKey struct{}

// notExecuted is a grpcserver.Unexecuted.
type notExecuted struct{ error }

func (notExecuted) Unexecuted() {}

// TestUnexecuted: a call that has not been executed is sent again by the client, on another
// connection when this one is drained.
func TestUnexecuted(t *testing.T) {
	_, other := grpctest.Start(t, grpctest.Options{}, nil)
	var refusing *grpctest.Server
	refused := make(chan struct{}, 10)
	refusing, addr := grpctest.Start(t, grpctest.Options{}, &grpctest.Service{Unary: func(context.Context, *pb.SimpleRequest) (*pb.SimpleResponse, error) {
		refusing.Mux.Drain()
		refused <- struct{}{}
		return nil, fmt.Errorf("wrapped: %w", notExecuted{errors.New("not executed")})
	}})
	to := addr
	dials := 0
	c := grpctest.Client(t, "passthrough:///x", grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		if dials++; dials > 1 {
			to = other
		}
		return new(net.Dialer).DialContext(ctx, "tcp", to)
	}))
	if _, err := c.UnaryCall(grpctest.Context(t), &pb.SimpleRequest{}); err != nil {
		t.Error(err)
	}
	if len(refused) != 1 {
		t.Errorf("%d calls were refused, want 1", len(refused))
	}
}
