package grpcclient

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// watch is a Watch service of grpc-go.
type watch struct {
	pb.UnimplementedWatchServer
	serve func(pb.Watch_WatchServer) error
}

func (w *watch) Watch(s pb.Watch_WatchServer) error { return w.serve(s) }

// received is a handler that passes on what it gets.
type received struct {
	lengths chan int // of the messages' keys
	ended   chan error
}

func (r *received) Received(message []byte) {
	m := new(pb.WatchResponse)
	if err := proto.Unmarshal(message, m); err != nil {
		r.ended <- err
		return
	}
	r.lengths <- len(m.CancelReason)
}

func (r *received) Ended(err error) { r.ended <- err }

// openStream starts a stream at a server with small windows.
func openStream(t *testing.T, serve func(pb.Watch_WatchServer) error) (*Stream, *received) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.InitialWindowSize(64<<10), grpc.InitialConnWindowSize(64<<10), grpc.MaxRecvMsgSize(64<<20))
	pb.RegisterWatchServer(server, &watch{serve: serve})
	go func() { _ = server.Serve(l) }() // ends with Stop
	t.Cleanup(server.Stop)
	c := New(Options{Endpoints: func() []string { return []string{l.Addr().String()} }, MaxSendBytes: 64 << 20, MaxRecvBytes: 6 << 20})
	t.Cleanup(c.Close)
	r := &received{lengths: make(chan int, 1000), ended: make(chan error, 2)}
	s, err := c.Open(t.Context(), pb.Watch_Watch_FullMethodName, r)
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

// TestStream sends and receives messages of all sizes, many in one frame and one in many frames,
// above the windows of both sides, and reads the end.
func TestStream(t *testing.T) {
	sizes := []int{0, 1, 100, 16_000, 16_384, 100_000, 5_000_000}
	for i := range 100 {
		sizes = append(sizes, i*i)
	}
	s, r := openStream(t, func(server pb.Watch_WatchServer) error {
		for {
			m, err := server.Recv()
			if err != nil {
				return err
			}
			key := m.GetCreateRequest().GetKey()
			if string(key) == "end" {
				return nil
			}
			if err := server.Send(&pb.WatchResponse{CancelReason: string(key)}); err != nil {
				return err
			}
		}
	})
	send := func(key []byte) {
		err := s.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: key}}})
		if err != nil {
			t.Error(err)
		}
	}
	for _, n := range sizes {
		send(bytes.Repeat([]byte("x"), n))
	}
	for _, want := range sizes {
		if got := <-r.lengths; got != want {
			t.Fatalf("received %d bytes, want %d", got, want)
		}
	}
	send([]byte("end"))
	if err := <-r.ended; !errors.Is(err, io.EOF) {
		t.Errorf("ended with %v", err)
	}
	send([]byte("after the end")) // without an effect
}

// TestStreamEnds has the other ends of a stream: by the server's status, by Close, by a message
// above the limit, and by the end of the connection. Each is reported once.
func TestStreamEnds(t *testing.T) {
	for name, c := range map[string]struct {
		serve func(pb.Watch_WatchServer) error
		do    func(*Stream)
		want  codes.Code
	}{
		"status": {serve: func(pb.Watch_WatchServer) error { return status.Error(codes.PermissionDenied, "no") }, want: codes.PermissionDenied},
		"close":  {do: (*Stream).Close, want: codes.Canceled},
		"large": {serve: func(s pb.Watch_WatchServer) error {
			_ = s.Send(&pb.WatchResponse{CancelReason: string(make([]byte, 7<<20))})
			<-s.Context().Done()
			return nil
		}, want: codes.ResourceExhausted},
		"connection": {do: func(s *Stream) { s.conn.nc.Close() }, want: codes.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			begun, over := make(chan struct{}), make(chan struct{})
			s, r := openStream(t, func(s pb.Watch_WatchServer) error {
				close(begun)
				defer close(over)
				if c.serve != nil {
					return c.serve(s)
				}
				<-s.Context().Done()
				return nil
			})
			<-begun // a call that ends before that may never reach the server
			if c.do != nil {
				c.do(s)
			}
			if err := <-r.ended; status.Code(err) != c.want {
				t.Errorf("ended with %v, want %v", err, c.want)
			}
			<-over // the server is told
			s.Close()
			select {
			case err := <-r.ended:
				t.Errorf("ended again, with %v", err)
			default:
			}
		})
	}
}
