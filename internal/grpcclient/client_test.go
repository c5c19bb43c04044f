package grpcclient

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// kv is a KV service of grpc-go.
type kv struct {
	pb.UnimplementedKVServer
	put   func(context.Context, *pb.PutRequest) (*pb.PutResponse, error)
	read  func(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error)
	calls atomic.Int32
}

func (k *kv) Put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	k.calls.Add(1)
	return k.put(ctx, r)
}

func (k *kv) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	k.calls.Add(1)
	return k.read(ctx, r)
}

// serve starts a server of grpc-go and returns its address.
func serve(t *testing.T, k *kv, opts ...grpc.ServerOption) (address string, s *grpc.Server) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(append(opts, grpc.MaxRecvMsgSize(64<<20), grpc.MaxSendMsgSize(64<<20))...)
	pb.RegisterKVServer(server, k)
	go func() { _ = server.Serve(l) }() // ends with Stop
	t.Cleanup(server.Stop)
	return l.Addr().String(), server
}

func newClient(t *testing.T, o Options, endpoints ...string) pb.KVClient {
	t.Helper()
	o.Endpoints = func() []string { return endpoints }
	if o.MaxRecvBytes == 0 {
		o.MaxRecvBytes = 64 << 20
	}
	o.MaxSendBytes = 64 << 20
	o.IsSafe = func(method string) bool { return method == pb.KV_Range_FullMethodName }
	c := New(o)
	t.Cleanup(c.Close)
	return pb.NewKVClient(c)
}

// echo returns a put's value as the previous one, and its token as the key.
func echo(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	kv := &pb.PutResponse{Header: &pb.ResponseHeader{Revision: r.Lease}}
	kv.PrevKv = newPair(fmt.Sprint(md["token"]), r.Value)
	return kv, nil
}

// TestConcurrentCalls: each of many concurrent calls, of all sizes, gets its own response, also
// where the server's windows are small.
func TestConcurrentCalls(t *testing.T) {
	address, _ := serve(t, &kv{put: echo}, grpc.InitialWindowSize(64<<10), grpc.InitialConnWindowSize(64<<10))
	c := newClient(t, Options{}, address)
	var work sync.WaitGroup
	for g := range 50 {
		work.Go(func() {
			for i := range 20 {
				n := int64(g*1000 + i)
				value := bytes.Repeat([]byte{byte(n)}, int(n*n)%100_000)
				ctx := metadata.AppendToOutgoingContext(t.Context(), "token", fmt.Sprint(n))
				r, err := c.Put(ctx, &pb.PutRequest{Value: value, Lease: n})
				if err != nil {
					t.Errorf("call %d: %v", n, err)
				} else if r.Header.Revision != n || !bytes.Equal(r.PrevKv.Value, value) || string(r.PrevKv.Key) != fmt.Sprintf("[%d]", n) {
					t.Errorf("call %d got the response of another one", n)
				}
			}
		})
	}
	work.Wait()
}

// TestFlowControl sends and receives messages that are larger than all windows, and refuses one
// above the limit; calls on the same connection continue.
func TestFlowControl(t *testing.T) {
	address, _ := serve(t, &kv{put: echo}, grpc.InitialWindowSize(64<<10), grpc.InitialConnWindowSize(64<<10))
	c := newClient(t, Options{MaxRecvBytes: 6 << 20}, address)
	for range 2 {
		large := bytes.Repeat([]byte("x"), 5<<20)
		if r, err := c.Put(t.Context(), &pb.PutRequest{Value: large}); err != nil || !bytes.Equal(r.PrevKv.Value, large) {
			t.Fatalf("large: %v", err)
		}
		if _, err := c.Put(t.Context(), &pb.PutRequest{Value: make([]byte, 9<<20)}); status.Code(err) != codes.ResourceExhausted {
			t.Fatalf("above the limit: %v", err)
		}
	}
}

// TestStatusAndMetadata: codes, texts, header and trailer are the server's.
func TestStatusAndMetadata(t *testing.T) {
	address, _ := serve(t, &kv{put: func(ctx context.Context, _ *pb.PutRequest) (*pb.PutResponse, error) {
		_ = grpc.SetHeader(ctx, metadata.Pairs("h", "1"))
		_ = grpc.SetTrailer(ctx, metadata.Pairs("t-bin", "\x00\xff"))
		return nil, status.Error(codes.NotFound, "50 % of it: ü\n")
	}})
	c := newClient(t, Options{}, address)
	var header, trailer metadata.MD
	_, err := c.Put(t.Context(), &pb.PutRequest{}, grpc.Header(&header), grpc.Trailer(&trailer))
	if s := status.Convert(err); s.Code() != codes.NotFound || s.Message() != "50 % of it: ü\n" {
		t.Errorf("status %v", s)
	}
	if len(header["h"]) != 1 || len(trailer["t-bin"]) != 1 || trailer["t-bin"][0] != "\x00\xff" {
		t.Errorf("header %v, trailer %v", header, trailer)
	}
}

// TestCancel: a call ends with its context, the server's handler as well, and the connection stays.
func TestCancel(t *testing.T) {
	canceled := make(chan struct{})
	k := &kv{put: echo, read: func(ctx context.Context, _ *pb.RangeRequest) (*pb.RangeResponse, error) {
		<-ctx.Done()
		close(canceled)
		return nil, ctx.Err()
	}}
	address, _ := serve(t, k)
	c := newClient(t, Options{}, address)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for k.calls.Load() == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	if _, err := c.Range(ctx, &pb.RangeRequest{}); status.Code(err) != codes.Canceled {
		t.Errorf("canceled: %v", err)
	}
	<-canceled
	if _, err := c.Put(t.Context(), &pb.PutRequest{}); err != nil {
		t.Error(err)
	}
}

// TestBrokenConnection: when a server fails, the other server responds to a read in progress, and
// a write fails once, since it may have been executed; the next write waits for the confirmation.
func TestBrokenConnection(t *testing.T) {
	var dying *grpc.Server
	first := &kv{}
	block := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	first.put = func(ctx context.Context, _ *pb.PutRequest) (*pb.PutResponse, error) { return nil, block(ctx) }
	first.read = func(ctx context.Context, _ *pb.RangeRequest) (*pb.RangeResponse, error) { return nil, block(ctx) }
	one, dying := serve(t, first)
	second := &kv{put: echo, read: func(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error) {
		return &pb.RangeResponse{Count: 2}, nil
	}}
	other, _ := serve(t, second)
	endpoints := []string{one} // the other one is added when both calls are at the first
	var mu sync.Mutex
	var confirmed atomic.Int32
	c := New(Options{
		MaxSendBytes: 1 << 20, MaxRecvBytes: 1 << 20, IsSafe: func(method string) bool { return method == pb.KV_Range_FullMethodName },
		Endpoints: func() []string { mu.Lock(); defer mu.Unlock(); return endpoints },
		Confirm:   func(context.Context, *Client) error { confirmed.Add(1); return nil },
	})
	t.Cleanup(c.Close)
	kvs := pb.NewKVClient(c)
	wrote, read := make(chan error, 1), make(chan error, 1)
	go func() { _, err := kvs.Put(t.Context(), &pb.PutRequest{}); wrote <- err }()
	go func() {
		r, err := kvs.Range(t.Context(), &pb.RangeRequest{})
		if err == nil && r.Count != 2 {
			err = errors.New("not the other server's response")
		}
		read <- err
	}()
	for first.calls.Load() < 2 {
		time.Sleep(time.Millisecond)
	}
	mu.Lock()
	endpoints = []string{one, other}
	mu.Unlock()
	dying.Stop()
	if err := <-wrote; status.Code(err) != codes.Unavailable || confirmed.Load() != 0 {
		t.Errorf("write: %v", err)
	}
	if err := <-read; err != nil {
		t.Errorf("read: %v", err)
	}
	for range 3 {
		if _, err := kvs.Put(t.Context(), &pb.PutRequest{}); err != nil || confirmed.Load() != 1 {
			t.Errorf("next write: %v, %d confirmations", err, confirmed.Load())
		}
	}
	if n := first.calls.Load(); n != 2 {
		t.Errorf("the first server got %d calls", n)
	}
}

// TestUnprocessedCallIsRepeated: a write that a server refuses unprocessed, by RST_STREAM or
// GOAWAY, is sent again.
func TestUnprocessedCallIsRepeated(t *testing.T) {
	for name, refusal := range map[string][]byte{
		"REFUSED_STREAM": appendRSTStream(nil, 1, codeRefusedStream),
		"GOAWAY":         append(appendFrame(nil, 8, frameGoAway, 0, 0), 0, 0, 0, 0, 0, 0, 0, 0),
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		refused := make(chan struct{}, 8)
		go func() {
			for {
				nc, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = nc.Write(appendFrame(nil, 0, frameSettings, 0, 0))
				// the preface and the call
				if _, err := io.ReadFull(nc, make([]byte, 200)); err == nil {
					_, _ = nc.Write(refusal)
				}
				refused <- struct{}{}
				l.Close() // from now on it cannot be dialed
				defer nc.Close()
			}
		}()
		k := &kv{put: echo}
		good, _ := serve(t, k)
		var turn atomic.Int32
		o := Options{MaxSendBytes: 1 << 20, MaxRecvBytes: 1 << 20}
		o.Endpoints = func() []string {
			if turn.Add(1); len(refused) == 0 {
				return []string{l.Addr().String()}
			}
			return []string{good}
		}
		c := New(o)
		t.Cleanup(c.Close)
		if _, err := pb.NewKVClient(c).Put(t.Context(), &pb.PutRequest{Key: bytes.Repeat([]byte("k"), 200)}); err != nil || k.calls.Load() != 1 || len(refused) != 1 {
			t.Errorf("%s: %v, %d calls, %d refused", name, err, k.calls.Load(), len(refused))
		}
	}
}

// TestNoServer: calls fail when their deadline comes, and with the reason when the client is
// closed.
func TestNoServer(t *testing.T) {
	c := newClient(t, Options{}, "127.0.0.1:1")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := c.Put(ctx, &pb.PutRequest{})
	if code := status.Code(err); code != codes.DeadlineExceeded && code != codes.Unavailable {
		t.Errorf("without a server: %v", err)
	}
}

// FuzzFrames: no bytes of a server crash the client or keep a call from ending.
func FuzzFrames(f *testing.F) {
	f.Add(appendFrame(nil, 0, frameSettings, 0, 0))
	f.Add(append(appendFrame(nil, 0, frameSettings, 0, 0), appendRSTStream(nil, 1, 0)...))
	f.Add(append(appendFrame(nil, 0, frameSettings, 0, 0), append(appendFrame(nil, 1, frameHeaders, flagEndHeaders, 1), 0x88)...))
	f.Fuzz(func(t *testing.T, text []byte) {
		near, far := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, far) }()
		go func() { _, _ = far.Write(text); far.Close() }()
		n, err := newConn(&Client{opts: Options{MaxRecvBytes: 1 << 20}}, near, "x", false)
		if err != nil {
			near.Close()
			return
		}
		call := newCall(make([]byte, prefixLen))
		if n.begin(t.Context(), call, "/a/b", nil) == nil {
			<-call.done
		}
	})
}

func newPair(key string, value []byte) *mvccpb.KeyValue {
	return &mvccpb.KeyValue{Key: []byte(key), Value: value}
}

// TestMemberThatFailsWritesIsAvoided: a member that responds Unavailable to a write gets no further
// calls while another one has a connection, so that one fault fails one write.
func TestMemberThatFailsWritesIsAvoided(t *testing.T) {
	read := func(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error) { return &pb.RangeResponse{}, nil }
	good := &kv{put: echo, read: read}
	bad := &kv{read: read, put: func(context.Context, *pb.PutRequest) (*pb.PutResponse, error) {
		return nil, status.Error(codes.Unavailable, "etcdserver: request timed out, possibly due to previous leader failure")
	}}
	first, _ := serve(t, good)
	second, _ := serve(t, bad)
	c := newClient(t, Options{}, first, second)
	for good.calls.Load() == 0 || bad.calls.Load() == 0 { // until both have a connection
		if _, err := c.Range(t.Context(), &pb.RangeRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	failed := 0
	for range 8 {
		if _, err := c.Put(t.Context(), &pb.PutRequest{}); err != nil {
			failed++
		}
	}
	if failed != 1 {
		t.Errorf("%d writes failed, want 1", failed)
	}
}
