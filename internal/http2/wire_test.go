package http2_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"cairn/internal/grpcserver"
	engine "cairn/internal/http2"
	"cairn/test/grpctest"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/encoding/protowire"
)

// wireRequest and wireReply are SimpleRequest and SimpleResponse with their own encoding.
type wireRequest struct {
	size  int
	user  bool
	bytes []byte // of the request, to check that they stay valid during the call
}

func (r *wireRequest) UnmarshalWire(b []byte) error {
	r.bytes = b
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 || typ != protowire.VarintType {
			return fmt.Errorf("not what is expected: %x", b)
		}
		v, m := protowire.ConsumeVarint(b[n:])
		if m < 0 {
			return protowire.ParseError(m)
		}
		switch num {
		case 2:
			r.size = int(v)
		case 4:
			r.user = v != 0
		}
		b = b[n+m:]
	}
	return nil
}

type wireReply struct {
	req   *wireRequest
	sized func()
	made  func()
}

func (r *wireReply) SizeWire() int {
	if r.sized != nil {
		r.sized()
	}
	return r.req.size + 20
}

func (r *wireReply) AppendWire(b []byte) ([]byte, error) {
	if r.made != nil {
		r.made()
	}
	body := protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), grpctest.Pattern(r.req.size))
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendBytes(b, body)
	b = protowire.AppendTag(b, 2, protowire.BytesType)
	return protowire.AppendString(b, fmt.Sprintf("%x", r.req.bytes)), nil
}

// wireServer serves UnaryCall with messages that encode themselves.
func wireServer(t *testing.T, opts grpctest.Options, call func(context.Context, *wireRequest) *wireReply) string {
	s := grpctest.New(opts)
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "grpc.testing.TestService",
		Methods: []grpc.MethodDesc{{
			MethodName: "UnaryCall",
			Handler: func(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				r := new(wireRequest)
				if err := dec(r); err != nil {
					return nil, err
				}
				return call(ctx, r), nil
			},
		}},
	}, nil)
	return s.Listen(t)
}

func TestMessagesThatEncodeThemselves(t *testing.T) {
	addr := wireServer(t, grpctest.Options{}, func(_ context.Context, r *wireRequest) *wireReply { return &wireReply{req: r} })
	c := grpctest.Client(t, addr)
	ctx := grpctest.Context(t)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 {
				size := g*1000 + i*i*10
				r, err := c.UnaryCall(ctx, &pb.SimpleRequest{ResponseSize: int32(size), FillUsername: true})
				if err != nil {
					t.Error(err)
					return
				}
				want := fmt.Sprintf("%x", append(binary.AppendUvarint([]byte{0x10}, uint64(size)), 0x20, 1))
				if size == 0 {
					want = "2001"
				}
				if string(r.Payload.Body) != string(grpctest.Pattern(size)) || r.Username != want {
					t.Errorf("size %d: %d bytes, request %s, want %s", size, len(r.Payload.Body), r.Username, want)
				}
			}
		})
	}
	wg.Wait()
}

// Responses that cannot be sent are not even encoded once the budget is used up.
func TestLargeAnswersWaitBeforeTheyAreEncoded(t *testing.T) {
	const calls, size = 30, 900000
	var sized, made atomic.Int32
	addr := wireServer(t, grpctest.Options{
		Tune: engine.Tune{SendBytes: 1 << 20}.Apply,
		GRPC: grpcserver.Options{Inline: func(m string, _ []byte, _ bool) bool { return strings.HasSuffix(m, "UnaryCall") }},
	}, func(_ context.Context, r *wireRequest) *wireReply {
		return &wireReply{req: r, sized: func() { sized.Add(1) }, made: func() { made.Add(1) }}
	})
	c := grpctest.RawDial(t, addr)
	c.Framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	id := uint32(1)
	for range calls {
		c.Call(id, size)
		id += 2
	}
	for sized.Load() < calls {
		runtime.Gosched()
	}
	if n := made.Load(); n > 2 {
		t.Fatalf("%d responses of %d bytes encoded, budget 1 MiB", n, size)
	}
	// Small responses still get through.
	c.Call(id, 10)
	c.Framer.WriteWindowUpdate(id, 1000)
	c.WantStatus(id, "0")
	c.Framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	c.Framer.WriteWindowUpdate(0, calls*(size+1000))
	done := 0
	c.Until(func(f http2.Frame) bool {
		if h, ok := f.(*http2.MetaHeadersFrame); ok && h.StreamEnded() {
			done++
		}
		return done == calls
	})
}

// TestInlineCallWaits: a call that requests its Done channel blocks no other call of its
// connection.
func TestInlineCallWaits(t *testing.T) {
	release := make(chan struct{})
	addr := wireServer(t, grpctest.Options{GRPC: grpcserver.Options{Inline: func(string, []byte, bool) bool { return true }}}, func(ctx context.Context, r *wireRequest) *wireReply {
		if r.user {
			ctx.Done()
			ctx.Done()
			<-release // ignores its context
		} else {
			close(release)
		}
		return &wireReply{req: r}
	})
	c := grpctest.RawOpen(t, addr)
	c.Headers(1, false, grpctest.CallHeaders("UnaryCall")...)
	c.Framer.WriteData(1, true, grpctest.Message(&pb.SimpleRequest{FillUsername: true}))
	c.Call(3, 5)
	c.WantStatus(3, "0")
}

// TestAlone: a call is alone on its connection unless the handler of another one runs.
func TestAlone(t *testing.T) {
	release := make(chan struct{})
	alone := make(chan bool, 1)
	inline := func(_ string, _ []byte, a bool) bool {
		alone <- a
		return a
	}
	addr := wireServer(t, grpctest.Options{GRPC: grpcserver.Options{Inline: inline}}, func(ctx context.Context, r *wireRequest) *wireReply {
		if r.user {
			ctx.Done()
			<-release
		}
		return &wireReply{req: r}
	})
	c := grpctest.RawOpen(t, addr)
	check := func(id uint32, want bool) {
		t.Helper()
		if got := <-alone; got != want {
			t.Errorf("call %d is alone: %v, want %v", id, got, want)
		}
	}
	c.Call(1, 5)
	check(1, true)
	c.WantStatus(1, "0")
	c.Headers(3, false, grpctest.CallHeaders("UnaryCall")...)
	c.Framer.WriteData(3, true, grpctest.Message(&pb.SimpleRequest{FillUsername: true}))
	check(3, true)
	c.Call(5, 5)
	check(5, false)
	c.WantStatus(5, "0")
	close(release)
	c.WantStatus(3, "0")
	c.Call(7, 5)
	check(7, true)
	c.WantStatus(7, "0")
}
