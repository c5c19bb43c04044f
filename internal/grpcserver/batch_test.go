package grpcserver_test

import (
	"bytes"
	"sync/atomic"
	"testing"

	"cairn/internal/http2"
	"cairn/test/grpctest"

	"google.golang.org/grpc"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/proto"
)

// TestSendMore sends 1,000 messages with one Flush, some of them too large to be copied: they
// arrive whole and in order, with few frames and writes instead of one for each.
func TestSendMore(t *testing.T) {
	const count = 1000
	size := func(i int) int {
		if i%250 == 249 {
			return 3 * http2.CopyBytesMax
		}
		return i % 100
	}
	var writes, sent atomic.Int64
	svc := &grpctest.Service{Duplex: func(st pb.TestService_FullDuplexCallServer) error {
		type stream = grpc.GenericServerStream[pb.StreamingOutputCallRequest, pb.StreamingOutputCallResponse]
		batch := st.(*stream).ServerStream.(interface {
			SendMore(m any) error
			Flush()
		})
		for i := range count {
			m := &pb.StreamingOutputCallResponse{Payload: &pb.Payload{Body: grpctest.Pattern(size(i))}}
			if err := batch.SendMore(m); err != nil {
				return err
			}
		}
		batch.Flush()
		_, err := st.Recv() // the call stays open, so that its end does not flush
		return err
	}}
	opts := grpctest.Options{HTTP2: http2.Options{Sent: func(n int) {
		writes.Add(1)
		sent.Add(int64(n))
	}}}
	_, addr := grpctest.Start(t, opts, svc)
	st, err := grpctest.Client(t, addr).FullDuplexCall(grpctest.Context(t))
	if err != nil {
		t.Fatal(err)
	}
	content := 0
	for i := range count {
		m, err := st.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(m.Payload.GetBody(), grpctest.Pattern(size(i))) {
			t.Fatalf("message %d differs", i)
		}
		content += 5 + proto.Size(m)
	}
	if n := writes.Load(); n > count/10 {
		t.Errorf("%d writes for %d messages", n, count)
	}
	const frameHeaderLen = 9
	if n := int(sent.Load()) - content; n > count*frameHeaderLen/4 {
		t.Errorf("%d messages of %d bytes in total cost %d further bytes", count, content, n)
	}
}
