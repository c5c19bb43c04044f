package grpcserver_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"cairn/test/grpctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
)

func params(sizes ...int) (p []*pb.ResponseParameters) {
	for _, n := range sizes {
		p = append(p, &pb.ResponseParameters{Size: int32(n)})
	}
	return p
}

func TestServerStreaming(t *testing.T) {
	_, addr := grpctest.Start(t, grpctest.Options{}, nil)
	c := grpctest.Client(t, addr)
	sizes := []int{1, 0, 31415, 9, 2653, 58979, 1 << 20, 3 << 20, 5}
	st, err := c.StreamingOutputCall(grpctest.Context(t), &pb.StreamingOutputCallRequest{ResponseParameters: params(sizes...)})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range sizes {
		m, err := st.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(m.Payload.GetBody(), grpctest.Pattern(n)) {
			t.Fatalf("%d bytes: differs", n)
		}
	}
	if _, err := st.Recv(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
}

func TestClientStreaming(t *testing.T) {
	_, addr := grpctest.Start(t, grpctest.Options{}, nil)
	c := grpctest.Client(t, addr)
	st, err := c.StreamingInputCall(grpctest.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for _, n := range []int{27182, 8, 1828, 45904, 0, 3 << 20, 1, 300000, 300000} {
		if err := st.Send(&pb.StreamingInputCallRequest{Payload: &pb.Payload{Body: grpctest.Pattern(n)}}); err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	r, err := st.CloseAndRecv()
	if err != nil {
		t.Fatal(err)
	}
	if int(r.AggregatedPayloadSize) != sum {
		t.Fatalf("got %d, want %d", r.AggregatedPayloadSize, sum)
	}
}

func TestBidiPingPong(t *testing.T) {
	_, addr := grpctest.Start(t, grpctest.Options{}, nil)
	c := grpctest.Client(t, addr)
	ctx := grpctest.Context(t)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			st, err := c.FullDuplexCall(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			for i := range 50 {
				if err := st.Send(&pb.StreamingOutputCallRequest{ResponseParameters: params(i * 700)}); err != nil {
					t.Error(err)
					return
				}
				m, err := st.Recv()
				if err != nil {
					t.Error(err)
					return
				}
				if !bytes.Equal(m.Payload.GetBody(), grpctest.Pattern(i*700)) {
					t.Error("differs")
				}
			}
			st.CloseSend()
			if _, err := st.Recv(); !errors.Is(err, io.EOF) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestStreamStatusAfterMessages(t *testing.T) {
	_, addr := grpctest.Start(t, grpctest.Options{}, nil)
	st, err := grpctest.Client(t, addr).FullDuplexCall(grpctest.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Send(&pb.StreamingOutputCallRequest{ResponseParameters: params(1 << 20)}); err != nil {
		t.Fatal(err)
	}
	if err := st.Send(&pb.StreamingOutputCallRequest{ResponseStatus: &pb.EchoStatus{Code: 9, Message: "enough"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Recv(); err != nil {
		t.Fatal(err)
	}
	_, err = st.Recv()
	grpctest.WantCode(t, err, codes.FailedPrecondition, "enough")
}

func TestStreamMetadata(t *testing.T) {
	svc := &grpctest.Service{Duplex: func(st pb.TestService_FullDuplexCallServer) error {
		st.SetTrailer(metadata.Pairs("after", "all"))
		if err := st.SetHeader(metadata.Pairs("one", "1")); err != nil {
			return err
		}
		if err := st.SendHeader(metadata.Pairs("two", "2")); err != nil {
			return err
		}
		if st.SetHeader(metadata.Pairs("late", "x")) == nil {
			return errors.New("SetHeader after SendHeader worked")
		}
		_, err := st.Recv()
		if !errors.Is(err, io.EOF) {
			return err
		}
		return nil
	}}
	_, addr := grpctest.Start(t, grpctest.Options{}, svc)
	st, err := grpctest.Client(t, addr).FullDuplexCall(grpctest.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	h, err := st.Header() // arrives although no message was sent
	if err != nil || h.Get("one")[0] != "1" || h.Get("two")[0] != "2" {
		t.Fatalf("%v %v", h, err)
	}
	st.CloseSend()
	if _, err := st.Recv(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if got := st.Trailer().Get("after"); len(got) != 1 {
		t.Fatalf("trailer %v", st.Trailer())
	}
}

// A client that does not read blocks the handler that sends to it, and only that one.
func TestSlowReaderHoldsItsHandler(t *testing.T) {
	sent := make(chan int, 1)
	svc := &grpctest.Service{Duplex: func(st pb.TestService_FullDuplexCallServer) error {
		n := 0
		for ; st.Context().Err() == nil; n++ {
			if st.Send(&pb.StreamingOutputCallResponse{Payload: &pb.Payload{Body: make([]byte, 10000)}}) != nil {
				break
			}
		}
		sent <- n
		return nil
	}}
	_, addr := grpctest.Start(t, grpctest.Options{}, svc)
	c := grpctest.Client(t, addr, grpc.WithStaticStreamWindowSize(65535), grpc.WithStaticConnWindowSize(1<<20))
	ctx, cancel := context.WithCancel(grpctest.Context(t))
	st, err := c.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Recv(); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := c.UnaryCall(grpctest.Context(t), &pb.SimpleRequest{ResponseSize: 50000}); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	// Windows, queue and one message being encoded: far less than the handler tries to send.
	if n := <-sent; n > 40 {
		t.Fatalf("%d messages of 10 kB were accepted for a client that reads none", n)
	}
}
