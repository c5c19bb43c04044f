package http2_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cairn/internal/grpcserver"
	engine "cairn/internal/http2"
	"cairn/internal/portmux"
	"cairn/test/grpctest"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// Under load, a graceful shutdown loses no call: each either succeeds or was not processed.
func TestShutdownUnderLoad(t *testing.T) {
	svc := &grpctest.Service{Unary: func(_ context.Context, r *pb.SimpleRequest) (*pb.SimpleResponse, error) {
		time.Sleep(time.Millisecond) // calls are in progress at the shutdown
		return &pb.SimpleResponse{Payload: r.Payload}, nil
	}}
	s, addr := grpctest.Start(t, grpctest.Options{}, svc)
	var served atomic.Int64
	var wg sync.WaitGroup
	ctx := grpctest.Context(t)
	for range 5 {
		c := grpctest.Client(t, addr)
		for range 10 {
			wg.Go(func() {
				for {
					_, err := c.UnaryCall(ctx, &pb.SimpleRequest{Payload: &pb.Payload{Body: grpctest.Pattern(20000)}})
					if err == nil {
						served.Add(1)
						continue
					}
					// Once the port is closed, calls fail before they reach a server.
					if s := status.Convert(err); s.Code() != codes.Unavailable || !strings.Contains(s.Message(), "connection refused") {
						t.Errorf("call ended with %v", err)
					}
					return
				}
			})
		}
	}
	for served.Load() < 200 {
		runtime.Gosched()
	}
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

func TestShutdownWaitsForStreamsAndGivesUp(t *testing.T) {
	s, addr := grpctest.Start(t, grpctest.Options{}, nil)
	st, err := grpctest.Client(t, addr).FullDuplexCall(grpctest.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	exchange := func() error {
		if err := st.Send(&pb.StreamingOutputCallRequest{ResponseParameters: []*pb.ResponseParameters{{Size: 10}}}); err != nil {
			return err
		}
		_, err := st.Recv()
		return err
	}
	if err := exchange(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Shutdown(ctx) }()
	// The listener closes first; the open stream continues.
	for {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			break
		}
		nc.Close()
	}
	if err := exchange(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if exchange() == nil {
		t.Fatal("the stream outlived the server")
	}
}

func TestGoAwayOrder(t *testing.T) {
	s, addr := grpctest.Start(t, grpctest.Options{}, nil)
	c := grpctest.RawOpen(t, addr)
	c.Headers(1, false, grpctest.CallHeaders("FullDuplexCall")...)
	c.Framer.WritePing(false, [8]byte{7}) // its response shows that the stream has been received
	c.Until(func(f http2.Frame) bool { p, ok := f.(*http2.PingFrame); return ok && p.IsAck() })
	done := make(chan error)
	go func() { done <- s.Shutdown(grpctest.Context(t)) }()
	c.Until(func(f http2.Frame) bool {
		g, ok := f.(*http2.GoAwayFrame)
		if ok && (g.LastStreamID != 1<<31-1 || g.ErrCode != http2.ErrCodeNo) {
			t.Fatalf("first GOAWAY %v", g)
		}
		return ok
	})
	c.Until(func(f http2.Frame) bool {
		p, ok := f.(*http2.PingFrame)
		if ok {
			c.Call(3, 10) // sent before the client has seen anything: served
			c.Framer.WritePing(true, p.Data)
		}
		return ok
	})
	served := false
	c.Until(func(f http2.Frame) bool {
		if h, ok := f.(*http2.MetaHeadersFrame); ok && h.StreamID == 3 && h.StreamEnded() {
			served = true
		}
		g, ok := f.(*http2.GoAwayFrame)
		if ok && g.LastStreamID != 3 {
			t.Fatalf("second GOAWAY %v", g)
		}
		return ok
	})
	c.Call(5, 10) // after the end: ignored
	if !served {
		c.WantStatus(3, "0")
	}
	c.Framer.WriteData(1, true, nil)
	c.WantStatus(1, "0")
	if _, err := c.Framer.ReadFrame(); err == nil {
		t.Fatal("connection stays open")
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestServerPingsASilentConnection(t *testing.T) {
	_, addr := grpctest.Start(t, grpctest.Options{HTTP2: engine.Options{KeepaliveTime: 50 * time.Millisecond, KeepaliveTimeout: 150 * time.Millisecond}}, nil)
	c := grpctest.RawOpen(t, addr)
	for range 3 {
		c.Until(func(f http2.Frame) bool {
			p, ok := f.(*http2.PingFrame)
			if ok {
				c.Framer.WritePing(true, p.Data)
			}
			return ok
		})
	}
	for { // pings are no longer acknowledged
		if _, err := c.Framer.ReadFrame(); err != nil {
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				t.Fatal("connection stays open")
			}
			return
		}
	}
}

func TestClientKeepaliveWithinThePolicy(t *testing.T) {
	_, addr := grpctest.Start(t, grpctest.Options{HTTP2: engine.Options{KeepaliveMinTime: time.Millisecond}}, nil)
	c := grpctest.RawOpen(t, addr)
	c.Headers(1, false, grpctest.CallHeaders("FullDuplexCall")...)
	for i := range 6 {
		time.Sleep(2 * time.Millisecond)
		c.Framer.WritePing(false, [8]byte{byte(i)})
		c.Until(func(f http2.Frame) bool {
			p, ok := f.(*http2.PingFrame)
			return ok && p.IsAck() && p.Data[0] == byte(i)
		})
	}
	cc := grpctest.Dial(t, addr, grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second}))
	if _, err := pb.NewTestServiceClient(cc).EmptyCall(grpctest.Context(t), &pb.Empty{}); err != nil {
		t.Fatal(err)
	}
}

// A connection on which nothing arrives is closed.
func TestConnectTimeout(t *testing.T) {
	_, addr := grpctest.Start(t, grpctest.Options{Mux: portmux.Options{ConnectTimeout: 20 * time.Millisecond}}, nil)
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(time.Minute))
	nc.Write([]byte("PRI * HT"))
	if n, err := nc.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(n, err)
	}
}

// Running handlers of streams that the client has reset count towards the limit of new streams.
func TestResetStreamsStillCount(t *testing.T) {
	release, started := make(chan struct{}), make(chan struct{})
	svc := &grpctest.Service{Unary: func(context.Context, *pb.SimpleRequest) (*pb.SimpleResponse, error) {
		started <- struct{}{}
		<-release // a handler that ignores its context
		return &pb.SimpleResponse{}, nil
	}}
	_, addr := grpctest.Start(t, grpctest.Options{}, svc)
	defer close(release)
	c := grpctest.RawOpen(t, addr)
	refused := make(chan struct{})
	go func() {
		for {
			f, err := c.Framer.ReadFrame()
			if err != nil {
				return
			}
			if r, ok := f.(*http2.RSTStreamFrame); ok && r.ErrCode == http2.ErrCodeRefusedStream {
				close(refused)
				return
			}
		}
	}()
	for id := uint32(1); id < 8000; id += 2 {
		c.Call(id, 0)
		select {
		case <-started:
		case <-refused:
			return
		}
		if err := c.Framer.WriteRSTStream(id, http2.ErrCodeCancel); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("4000 handlers were started for streams that were reset")
}

// A connection may not hold more unserved request bytes than its budget.
func TestRequestBytesBudget(t *testing.T) {
	_, addr := grpctest.Start(t, grpctest.Options{GRPC: grpcserver.Options{MaxRecvBytes: 1 << 20}, Tune: engine.Tune{RecvBytes: 4 << 20}.Apply}, nil)
	c := grpctest.RawOpen(t, addr)
	got := make(chan string, 100)
	go func() {
		for {
			f, err := c.Framer.ReadFrame()
			if err != nil {
				return
			}
			if h, ok := f.(*http2.MetaHeadersFrame); ok && h.StreamEnded() {
				for _, f := range h.RegularFields() {
					if f.Name == "grpc-status" {
						got <- f.Value
					}
				}
			}
		}
	}()
	// 40 messages of 200 kB, each without its last byte.
	m := grpctest.Message(&pb.SimpleRequest{Payload: &pb.Payload{Body: make([]byte, 200000)}})
	for id := uint32(1); id < 80; id += 2 {
		c.Headers(id, false, grpctest.CallHeaders("UnaryCall")...)
		for p := m[:len(m)-1]; len(p) > 0; {
			n := min(len(p), 16384)
			c.Framer.WriteData(id, false, p[:n])
			p = p[n:]
		}
	}
	if code := <-got; code != "8" {
		t.Fatalf("grpc-status %s", code)
	}
	c.Framer.WriteData(1, true, m[len(m)-1:]) // requests from before the limit are still served
	for code := range got {
		if code == "0" {
			break
		}
	}
}

// The memory used by hostile or failed calls is released.
func TestNothingIsLeftBehind(t *testing.T) {
	before := runtime.NumGoroutine()
	s := grpctest.New(grpctest.Options{})
	pb.RegisterTestServiceServer(s, &grpctest.Service{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(l)
	cc := grpctest.Dial(t, l.Addr().String())
	c := pb.NewTestServiceClient(cc)
	for range 10 {
		ctx, cancel := context.WithCancel(context.Background())
		st, err := c.FullDuplexCall(ctx)
		if err != nil {
			t.Fatal(err)
		}
		st.Send(&pb.StreamingOutputCallRequest{ResponseParameters: []*pb.ResponseParameters{{Size: 100000}, {Size: 100000}}})
		if m, err := st.Recv(); err != nil || !bytes.Equal(m.Payload.Body, grpctest.Pattern(100000)) {
			t.Fatal(err)
		}
		cancel()
	}
	cc.Close()
	s.Close()
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > before; {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<16)
			t.Fatalf("goroutines %d, before %d\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
		time.Sleep(time.Millisecond)
	}
}

func TestManyLargeResponsesStayWithinTheBudget(t *testing.T) {
	_, addr := grpctest.Start(t, grpctest.Options{Tune: engine.Tune{SendBytes: 1 << 20}.Apply}, nil)
	c := grpctest.Client(t, addr)
	ctx := grpctest.Context(t)
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			r, err := c.UnaryCall(ctx, &pb.SimpleRequest{ResponseSize: 900000})
			if err != nil {
				t.Error(err)
			} else if !bytes.Equal(r.Payload.Body, grpctest.Pattern(900000)) {
				t.Error("differs")
			}
		})
	}
	wg.Wait()
}
