package http2_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"cairn/internal/grpcserver"
	engine "cairn/internal/http2"
	"cairn/test/grpctest"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	pb "google.golang.org/grpc/interop/grpc_testing"
)

type fuzzService struct {
	pb.UnimplementedTestServiceServer
}

func (fuzzService) UnaryCall(_ context.Context, r *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	n := min(uint32(r.ResponseSize), 1<<17)
	return &pb.SimpleResponse{Payload: &pb.Payload{Body: make([]byte, n)}}, nil
}

func (fuzzService) FullDuplexCall(s pb.TestService_FullDuplexCallServer) error {
	for {
		if _, err := s.Recv(); err != nil {
			return nil
		}
		if err := s.Send(&pb.StreamingOutputCallResponse{}); err != nil {
			return err
		}
	}
}

// closeSignal is a connection whose channel is closed by Close.
type closeSignal struct {
	net.Conn
	closed chan struct{}
}

func (c *closeSignal) Close() error {
	err := c.Conn.Close()
	select {
	case <-c.closed:
	default:
		close(c.closed)
	}
	return err
}

// FuzzServerFrames sends arbitrary bytes on a connection. The server must not panic, and the
// connection must end when its input does.
func FuzzServerFrames(f *testing.F) {
	seed := func(build func(fr *http2.Framer, block func(...string) []byte)) {
		var out, blk bytes.Buffer
		fr := http2.NewFramer(&out, nil)
		fr.AllowIllegalWrites = true
		enc := hpack.NewEncoder(&blk)
		fr.WriteSettings()
		build(fr, func(kv ...string) []byte {
			blk.Reset()
			for i := 0; i < len(kv); i += 2 {
				enc.WriteField(hpack.HeaderField{Name: kv[i], Value: kv[i+1]})
			}
			return bytes.Clone(blk.Bytes())
		})
		f.Add(out.Bytes())
	}
	head := func(method string, more ...string) []string {
		return append([]string{":method", "POST", ":scheme", "http", ":path", "/grpc.testing.TestService/" + method, ":authority", "x", "content-type", "application/grpc"}, more...)
	}
	seed(func(fr *http2.Framer, block func(...string) []byte) {
		for id := uint32(1); id < 7; id += 2 {
			fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block(head("UnaryCall", "grpc-timeout", "5S")...), EndHeaders: true})
			fr.WriteData(id, true, []byte{0, 0, 0, 0, 4, 0x10, 0x80, 0x80, 0x04})
			fr.WriteWindowUpdate(id, 1000)
		}
		fr.WritePing(false, [8]byte{})
	})
	seed(func(fr *http2.Framer, block func(...string) []byte) {
		b := block(head("FullDuplexCall", "x-bin", "AAEC", "grpc-encoding", "gzip")...)
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b[:5]})
		fr.WriteContinuation(1, true, b[5:])
		fr.WriteDataPadded(1, false, []byte{0, 0, 0, 0, 0, 0, 0}, make([]byte, 3))
		fr.WriteData(1, false, []byte{0, 0, 0, 1, 0, 0})
		fr.WriteRSTStream(1, http2.ErrCodeCancel)
		fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 3}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0})
		fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: block(":method", "GET", ":scheme", "http", ":path", "/x", ":authority", "y"), EndHeaders: true, EndStream: true})
	})
	f.Add([]byte{})

	s := grpctest.New(grpctest.Options{GRPC: grpcserver.Options{MaxRecvBytes: 1 << 16}, Tune: engine.Tune{HeaderBytes: 4 << 10}.Apply})
	pb.RegisterTestServiceServer(s, fuzzService{})
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	go s.Serve(l)
	f.Cleanup(s.Close)
	f.Fuzz(func(t *testing.T, in []byte) {
		near, far := net.Pipe()
		end := &closeSignal{far, make(chan struct{})}
		go io.Copy(io.Discard, near)
		l.conns <- end
		near.SetDeadline(time.Now().Add(time.Minute))
		io.WriteString(near, engine.ClientPreface)
		if _, err := near.Write(in); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			t.Fatalf("server does not read: %v", err)
		}
		near.Close()
		select {
		case <-end.closed:
		case <-time.After(time.Minute):
			t.Fatal("connection does not end")
		}
	})
}

// pipeListener accepts the connections that a test sends to conns.
type pipeListener struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case nc := <-l.conns:
		return nc, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }
