package grpcserver_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"cairn/test/grpctest"
)

// echo responds to each request with its payload: on the reader unless it begins with 'w'.
type echo struct {
	mu              sync.Mutex // guards the fields below
	accepted        int
	onReader, waits int
	ended           []codes.Code
	changed         chan struct{}
}

func (e *echo) Accept(context.Context) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.accepted++
	return true
}

func (e *echo) Message(request, dst []byte) ([]byte, bool) {
	var in pb.StreamingOutputCallRequest
	if proto.Unmarshal(request, &in) != nil || len(in.Payload.GetBody()) > 0 && in.Payload.Body[0] == 'w' {
		return nil, false
	}
	e.mu.Lock()
	e.onReader++
	e.mu.Unlock()
	out, err := proto.MarshalOptions{}.MarshalAppend(dst, &pb.StreamingOutputCallResponse{Payload: in.Payload})
	return out, err == nil
}

func (e *echo) servedOnReader() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.onReader
}

func (e *echo) Serve(stream grpc.ServerStream) error {
	var in pb.StreamingOutputCallRequest
	if err := stream.RecvMsg(&in); err != nil {
		return err
	}
	e.mu.Lock()
	e.waits++
	e.mu.Unlock()
	if string(in.Payload.GetBody()) == "wrong" {
		return status.Error(codes.DataLoss, "wrong")
	}
	return stream.SendMsg(&pb.StreamingOutputCallResponse{Payload: in.Payload})
}

func (e *echo) Ended(code codes.Code) {
	e.mu.Lock()
	e.ended = append(e.ended, code)
	e.mu.Unlock()
	e.changed <- struct{}{}
}

// wantEnd waits for the end of a call.
func (e *echo) wantEnd(t *testing.T, code codes.Code) {
	t.Helper()
	select {
	case <-e.changed:
	case <-time.After(time.Minute):
		t.Fatal("the call has not ended")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if got := e.ended[len(e.ended)-1]; got != code {
		t.Errorf("the call ended with %v, want %v", got, code)
	}
}

func startEcho(t *testing.T) (*echo, pb.TestServiceClient) {
	e := &echo{changed: make(chan struct{}, 1000)}
	s := grpctest.New(grpctest.Options{})
	pb.RegisterTestServiceServer(s, struct {
		pb.UnimplementedTestServiceServer
	}{})
	s.ServeMessages(pb.TestService_FullDuplexCall_FullMethodName, e)
	return e, grpctest.Client(t, s.Listen(t))
}

func send(t *testing.T, st pb.TestService_FullDuplexCallClient, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		if err := st.Send(&pb.StreamingOutputCallRequest{Payload: &pb.Payload{Body: []byte(body)}}); err != nil {
			t.Fatal(err)
		}
	}
}

func receive(t *testing.T, st pb.TestService_FullDuplexCallClient, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		got, err := st.Recv()
		if err != nil || string(got.Payload.GetBody()) != body {
			t.Fatalf("got %v, %v, want %q", got, err, body)
		}
	}
}

// TestMessages: requests are answered in order, whether they are served on the reader or wait;
// after a request that waits, later ones are served on the reader again.
func TestMessages(t *testing.T) {
	e, c := startEcho(t)
	st, err := c.FullDuplexCall(grpctest.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		send(t, st, "a", "w1", "w2", "b", "w3", "c")
		receive(t, st, "a", "w1", "w2", "b", "w3", "c")
	}
	// The goroutine of the last request that waited may not have ended yet: it serves what arrives
	// until then.
	alone := 0
	for before := e.servedOnReader(); e.servedOnReader() < before+50; {
		send(t, st, "alone")
		receive(t, st, "alone")
		alone++
	}
	if err := st.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the call ended with %v", err)
	}
	e.wantEnd(t, codes.OK)
	if e.accepted != 1 || e.onReader+e.waits != 20*6+alone || e.waits < 60 {
		t.Errorf("%d calls accepted, %d requests served on the reader, %d waited", e.accepted, e.onReader, e.waits)
	}
}

// TestMessagesThatArriveAtTheEnd: requests that arrive while the goroutine of an earlier one ends
// are served.
func TestMessagesThatArriveAtTheEnd(t *testing.T) {
	_, c := startEcho(t)
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			st, err := c.FullDuplexCall(grpctest.Context(t))
			if err != nil {
				t.Error(err)
				return
			}
			const n = 3000
			go func() {
				for range n {
					_ = st.Send(&pb.StreamingOutputCallRequest{Payload: &pb.Payload{Body: []byte("w")}})
				}
			}()
			for i := range n {
				if _, err := st.Recv(); err != nil {
					t.Errorf("response %d: %v", i, err)
					return
				}
			}
		})
	}
	clients.Wait()
}

// TestMessagesEnds: each way in which a call ends is reported once.
func TestMessagesEnds(t *testing.T) {
	e, c := startEcho(t)
	ctx := grpctest.Context(t)
	t.Run("the client resets a call without a goroutine", func(t *testing.T) {
		ctx, cancel := context.WithCancel(ctx)
		st, err := c.FullDuplexCall(ctx)
		if err != nil {
			t.Fatal(err)
		}
		send(t, st, "a")
		receive(t, st, "a")
		cancel()
		e.wantEnd(t, codes.Canceled)
	})
	t.Run("the client resets a call after a request that waited", func(t *testing.T) {
		ctx, cancel := context.WithCancel(ctx)
		st, err := c.FullDuplexCall(ctx)
		if err != nil {
			t.Fatal(err)
		}
		send(t, st, "w")
		receive(t, st, "w")
		cancel()
		e.wantEnd(t, codes.Canceled)
	})
	t.Run("an error", func(t *testing.T) {
		st, err := c.FullDuplexCall(ctx)
		if err != nil {
			t.Fatal(err)
		}
		send(t, st, "a", "wrong")
		// io.EOF means that the server has ended the call before
		if err := st.Send(&pb.StreamingOutputCallRequest{Payload: &pb.Payload{Body: []byte("never served")}}); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		receive(t, st, "a")
		_, err = st.Recv()
		grpctest.WantCode(t, err, codes.DataLoss, "wrong")
		e.wantEnd(t, codes.DataLoss)
	})
	t.Run("no request", func(t *testing.T) {
		st, err := c.FullDuplexCall(ctx)
		if err == nil {
			err = st.CloseSend()
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("the call ended with %v", err)
		}
	})
	t.Run("the deadline", func(t *testing.T) {
		// on a busy machine a call may not begin within a short deadline
		for timeout := 50 * time.Millisecond; ; timeout *= 2 {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			st, err := c.FullDuplexCall(ctx)
			if status.Code(err) == codes.DeadlineExceeded && timeout < 10*time.Second {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			_, err = st.Recv()
			grpctest.WantCode(t, err, codes.DeadlineExceeded, "")
			return
		}
	})
}

// TestMessagesManyCalls: calls of one request each, as KeepAliveOnce makes them.
func TestMessagesManyCalls(t *testing.T) {
	e, c := startEcho(t)
	ctx := grpctest.Context(t)
	var clients sync.WaitGroup
	for range 10 {
		clients.Go(func() {
			for i := range 50 {
				ctx, cancel := context.WithCancel(ctx)
				st, err := c.FullDuplexCall(ctx)
				if err != nil {
					t.Error(err)
				} else {
					body := []string{"a", "w"}[i%2]
					send(t, st, body)
					receive(t, st, body)
				}
				cancel()
			}
		})
	}
	clients.Wait()
	for range 500 {
		e.wantEnd(t, codes.Canceled)
	}
}

// The server may be closed while a connection begins calls.
func TestCloseWhileCallsBegin(t *testing.T) {
	for range 10 {
		e := &echo{changed: make(chan struct{}, 1000)}
		s := grpctest.New(grpctest.Options{})
		pb.RegisterTestServiceServer(s, struct {
			pb.UnimplementedTestServiceServer
		}{})
		s.ServeMessages(pb.TestService_FullDuplexCall_FullMethodName, e)
		c := pb.NewTestServiceClient(grpctest.Dial(t, s.Listen(t)))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // a deadline lets other goroutines end the call
		few, begun := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(begun)
			for n := range cap(e.changed) {
				if n == 5 {
					close(few)
				}
				if _, err := c.FullDuplexCall(ctx); err != nil {
					return
				}
			}
		}()
		<-few
		s.Close()
		cancel()
		<-begun
	}
}
