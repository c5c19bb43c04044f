package http2_test

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"cairn/internal/budget"
	"cairn/internal/grpcserver"
	engine "cairn/internal/http2"
	"cairn/internal/portmux"
	"cairn/test/grpctest"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding/gzip"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
)

func withBudget(b *budget.Budget) grpctest.Options {
	return grpctest.Options{
		GRPC:  grpcserver.Options{MaxRecvBytes: 4 << 20},
		HTTP2: engine.Options{Budget: b},
		Mux:   portmux.Options{Budget: b},
	}
}

// awaitUnused waits until everything was released.
func awaitUnused(t *testing.T, b *budget.Budget) {
	t.Helper()
	for ctx := grpctest.Context(t); b.Used() != 0; runtime.Gosched() {
		if ctx.Err() != nil {
			t.Fatalf("%d bytes were not released", b.Used())
		}
	}
}

// However requests and connections end, the memory that they took from the budget is released.
func TestBudgetIsGivenBack(t *testing.T) {
	b := budget.New(256 << 20)
	_, addr := grpctest.Start(t, withBudget(b), nil)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() { // calls that succeed, that are canceled, and streams that are abandoned
			cc := grpctest.Dial(t, addr)
			c := pb.NewTestServiceClient(cc)
			for j := range 20 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(j)*time.Millisecond+time.Duration(j%2)*10*time.Second)
				_, _ = c.UnaryCall(ctx, &pb.SimpleRequest{ResponseSize: int32(10_000 << (i % 7)), Payload: &pb.Payload{Body: make([]byte, 1000*j)}}, grpc.UseCompressor([]string{"", gzip.Name}[j%2]))
				if st, err := c.FullDuplexCall(ctx); err == nil {
					_ = st.Send(&pb.StreamingOutputCallRequest{ResponseParameters: []*pb.ResponseParameters{{Size: 100_000}, {Size: 5000}, {Size: 1}}})
					_, _ = st.Recv()
				}
				cancel()
			}
			_ = cc.Close()
		})
		wg.Go(func() { // responses that are interrupted, requests without an end
			c := grpctest.RawDial(t, addr)
			_ = c.Framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(20_000 * i)})
			for id := uint32(1); id < 60; id += 2 {
				c.Call(id, 200_000)
				if id%3 == 0 {
					_ = c.Framer.WriteRSTStream(id, http2.ErrCodeCancel)
				}
			}
			c.Headers(61, false, grpctest.CallHeaders("UnaryCall")...)
			_ = c.Framer.WriteData(61, false, make([]byte, 4))
			_ = c.Framer.WriteData(61, false, append([]byte{200}, make([]byte, 100)...))
			_ = c.Conn.Close()
		})
	}
	wg.Wait()
	awaitUnused(t, b)
}

// While no memory is left, an open connection's small requests are served, from what is guaranteed
// to it, and longer ones are refused with a status; they are served once there is memory.
func TestBudgetExhausted(t *testing.T) {
	b := budget.New(1 << 20)
	_, addr := grpctest.Start(t, withBudget(b), nil)
	c := grpctest.Client(t, addr)
	call := func(request, response int32) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, err := c.UnaryCall(ctx, &pb.SimpleRequest{ResponseSize: response, Payload: &pb.Payload{Body: make([]byte, request)}})
		return err
	}
	if err := call(10, 10); err != nil {
		t.Fatal(err)
	}
	if err := call(10, 2<<20); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a response larger than the budget: %v", err)
	}
	taken := int64(0)
	for n := int64(budget.SmallBytes); n > 0; n /= 2 {
		for b.TryTake(n) {
			taken += n
		}
	}
	if err := call(10, 10); err != nil {
		t.Errorf("a small request without memory: %v", err)
	}
	if err := call(100_000, 10); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a long request without memory: %v", err)
	}
	b.Give(taken)
	if err := call(100_000, 10); err != nil {
		t.Errorf("with memory again: %v", err)
	}
}
