package http2_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	engine "cairn/internal/http2"
	"cairn/test/grpctest"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding/gzip"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/encoding/protowire"
)

// piecesReply is a SimpleResponse of size bytes that consists of pieces of the given lengths; the
// last has the rest. Released pieces are overwritten, which shows up in the response if they are
// still to be sent.
type piecesReply struct {
	size    int
	lengths []int
	out     *atomic.Int64 // pieces not yet released
	again   func()        // called when one is released twice
	joined  *atomic.Int64 // calls of AppendWire
}

func (r *piecesReply) encoding() []byte {
	body := protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), grpctest.Pattern(r.size))
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), body)
}

func (r *piecesReply) AppendWire(b []byte) ([]byte, error) {
	r.joined.Add(1)
	return append(b, r.encoding()...), nil
}

func (r *piecesReply) WirePieces() ([][]byte, func([]byte)) {
	if len(r.lengths) == 0 {
		return nil, nil
	}
	rest := r.encoding()
	var pieces [][]byte
	for _, n := range r.lengths {
		if n = min(n, len(rest)); n == 0 {
			break
		}
		pieces, rest = append(pieces, slices.Clone(rest[:n])), rest[n:]
	}
	if len(rest) > 0 {
		pieces = append(pieces, slices.Clone(rest))
	}
	r.out.Add(int64(len(pieces)))
	var mu sync.Mutex
	back := map[*byte]bool{}
	return pieces, func(p []byte) {
		mu.Lock()
		defer mu.Unlock()
		if back[&p[0]] {
			r.again()
		}
		back[&p[0]] = true
		clear(p)
		r.out.Add(-1)
	}
}

// piecesServer responds with the function's result for the requested size. Streams get it three
// times.
func piecesServer(t *testing.T, opts grpctest.Options, reply func(size int) *piecesReply) (addr string, out, joined *atomic.Int64) {
	t.Helper()
	out, joined = new(atomic.Int64), new(atomic.Int64)
	made := func(dec func(any) error) (*piecesReply, error) {
		req := new(pb.SimpleRequest)
		if err := dec(req); err != nil {
			return nil, err
		}
		r := reply(int(req.ResponseSize))
		r.size, r.out, r.joined = int(req.ResponseSize), out, joined
		r.again = func() { t.Error("a piece was released twice") }
		return r, nil
	}
	s := grpctest.New(opts)
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "grpc.testing.TestService",
		Methods: []grpc.MethodDesc{{
			MethodName: "UnaryCall",
			Handler: func(_ any, _ context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				return made(dec)
			},
		}},
		Streams: []grpc.StreamDesc{{
			StreamName: "Thrice", ServerStreams: true,
			Handler: func(_ any, st grpc.ServerStream) error {
				r, err := made(st.RecvMsg)
				for range 3 {
					if err != nil {
						return err
					}
					err = st.SendMsg(r)
				}
				return err
			},
		}},
	}, nil)
	return s.Listen(t), out, joined
}

// awaitBack waits until all pieces were released.
func awaitBack(t *testing.T, out *atomic.Int64) {
	t.Helper()
	ctx := grpctest.Context(t)
	for out.Load() != 0 {
		if ctx.Err() != nil {
			t.Fatalf("%d pieces were not released", out.Load())
		}
		runtime.Gosched()
	}
}

var splits = map[string][]int{
	"tiny":               {1, 1, 1, 3, 100},
	"large":              {65_536, 262_144, 262_144, 262_144},
	"around a frame":     {16_383, 16_385, 16_384, 1, 16_384},
	"small among large":  {40, 70_000, 2, 4096, 4097, 100_000, 1},
	"all in the first":   {1 << 30},
	"small ones":         slices.Repeat([]int{4000}, 50),
	"longer than copied": slices.Repeat([]int{4100}, 50),
}

func TestResponsesInPieces(t *testing.T) {
	for name, lengths := range splits {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, out, joined := piecesServer(t, grpctest.Options{}, func(int) *piecesReply { return &piecesReply{lengths: lengths} })
			c := grpctest.Client(t, addr)
			ctx := grpctest.Context(t)
			var wg sync.WaitGroup
			for g := range 4 {
				wg.Go(func() {
					for i := range 10 {
						size := 1 + g*50_000 + i*20_000
						r, err := c.UnaryCall(ctx, &pb.SimpleRequest{ResponseSize: int32(size)})
						if err != nil {
							t.Error(err)
							return
						}
						if !bytes.Equal(r.Payload.Body, grpctest.Pattern(size)) {
							t.Errorf("size %d: %d bytes, or wrong ones", size, len(r.Payload.Body))
						}
					}
				})
			}
			wg.Wait()
			awaitBack(t, out)
			if joined.Load() != 0 {
				t.Error("AppendWire was called, too")
			}
		})
	}
}

// Without pieces, and for a client that compresses, the message is encoded as a whole.
func TestResponsesInPiecesJoined(t *testing.T) {
	addr, out, joined := piecesServer(t, grpctest.Options{}, func(size int) *piecesReply {
		if size < 1000 {
			return &piecesReply{}
		}
		return &piecesReply{lengths: []int{70_000, 10}}
	})
	c := grpctest.Client(t, addr)
	for i, opts := range [][]grpc.CallOption{{}, {grpc.UseCompressor(gzip.Name)}} {
		size := []int{999, 200_000}[i]
		r, err := c.UnaryCall(grpctest.Context(t), &pb.SimpleRequest{ResponseSize: int32(size)}, opts...)
		if err != nil || !bytes.Equal(r.Payload.Body, grpctest.Pattern(size)) {
			t.Errorf("size %d: error %v, or another body", size, err)
		}
		if joined.Load() != int64(i+1) {
			t.Errorf("size %d: AppendWire called %d times", size, joined.Load())
		}
		awaitBack(t, out)
	}
}

func TestStreamedResponsesInPieces(t *testing.T) {
	addr, out, _ := piecesServer(t, grpctest.Options{Tune: engine.Tune{SendBytes: 1 << 18}.Apply}, func(int) *piecesReply {
		return &piecesReply{lengths: []int{65_536, 262_144}}
	})
	conn := grpctest.Dial(t, addr)
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			st, err := conn.NewStream(grpctest.Context(t), &grpc.StreamDesc{ServerStreams: true}, "/grpc.testing.TestService/Thrice")
			if err != nil {
				t.Error(err)
				return
			}
			size := 100_000 * (i + 1)
			if err := st.SendMsg(&pb.SimpleRequest{ResponseSize: int32(size)}); err != nil {
				t.Error(err)
				return
			}
			for range 3 {
				r := new(pb.SimpleResponse)
				if err := st.RecvMsg(r); err != nil || !bytes.Equal(r.Payload.Body, grpctest.Pattern(size)) {
					t.Errorf("size %d: error %v, or another body", size, err)
					return
				}
			}
		})
	}
	wg.Wait()
	awaitBack(t, out)
}

// A stream whose client disconnects in the middle of a response does not affect the others.
func TestResponsesInPiecesThatAreGivenUp(t *testing.T) {
	addr, _, _ := piecesServer(t, grpctest.Options{Tune: engine.Tune{SendBytes: 1 << 20}.Apply}, func(int) *piecesReply {
		return &piecesReply{lengths: slices.Repeat([]int{100_000}, 9)}
	})
	const size = 900_000
	c := grpctest.RawOpen(t, addr)
	for i := range 5 {
		id := uint32(2*i + 1)
		c.Call(id, size)
		got := 0
		c.Until(func(f http2.Frame) bool { // the window of a stream, and no more
			if d, ok := f.(*http2.DataFrame); ok && d.StreamID == id {
				got += len(d.Data())
			}
			return got == 65_535
		})
		c.Framer.WriteRSTStream(id, http2.ErrCodeCancel)
		c.Framer.WriteWindowUpdate(0, 65_535)
	}
	const last = 11
	c.Call(last, size)
	c.Framer.WriteWindowUpdate(0, 2*size)
	c.Framer.WriteWindowUpdate(last, 2*size)
	var body []byte
	c.Until(func(f http2.Frame) bool {
		if d, ok := f.(*http2.DataFrame); ok && d.StreamID == last {
			body = append(body, d.Data()...)
		}
		h, ok := f.(*http2.MetaHeadersFrame)
		return ok && h.StreamID == last && h.StreamEnded()
	})
	want := (&piecesReply{size: size}).encoding()
	if !bytes.Equal(body[5:], want) || !bytes.Equal(body[:5], binary.BigEndian.AppendUint32([]byte{0}, uint32(len(want)))) {
		t.Errorf("%d bytes that begin with %x", len(body), body[:5])
	}
}
