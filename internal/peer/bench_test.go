package peer

import (
	"context"
	"io"
	"runtime"
	"sync/atomic"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// run sends messages from one transport to another over loopback, as fast as the receiver reads
// them, with no more in flight than the lane may hold.
func run(b *testing.B, m *raftpb.Message, window int64) {
	from, to := startNode(b, 1, nil), startNode(b, 2, nil)
	var got atomic.Int64
	more := make(chan struct{}, 1)
	to.receive = func(context.Context, *raftpb.Message) {
		got.Add(1)
		select {
		case more <- struct{}{}:
		default:
		}
	}
	introduce(from, to)
	awaitConnected(b, from, to)
	msgs := []*raftpb.Message{m}
	b.SetBytes(int64(messageSize(m)))
	b.ReportAllocs()
	b.ResetTimer()
	for sent := int64(0); sent < int64(b.N); sent++ {
		for sent-got.Load() >= window {
			<-more
		}
		from.Send(msgs)
	}
	for got.Load() < int64(b.N) {
		<-more
	}
	b.StopTimer()
	if s := from.Stats()[0]; s.Dropped != 0 {
		b.Fatalf("%d messages were dropped", s.Dropped)
	}
}

func BenchmarkHeartbeats(b *testing.B) {
	m := heartbeat(1, 2, 0)
	m.Index, m.Term, m.Commit = nil, proto.Uint64(3), proto.Uint64(1<<30)
	run(b, m, 1024)
}

// A heartbeat to the peer, and the response.
func BenchmarkRoundTrip(b *testing.B) {
	from, to := startNode(b, 1, nil), startNode(b, 2, nil)
	answer := []*raftpb.Message{message(raftpb.MessageType_MsgHeartbeatResp, 2, 1, 0)}
	to.receive = func(context.Context, *raftpb.Message) { to.Send(answer) }
	introduce(from, to)
	awaitConnected(b, from, to)
	ask := []*raftpb.Message{heartbeat(1, 2, 0)}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		from.Send(ask)
		<-from.messages
	}
}

func BenchmarkAppends(b *testing.B) {
	for name, shape := range map[string]struct{ entries, bytes int }{
		"1x200": {1, 200}, "1x64KiB": {1, 64 << 10}, "1x1MiB": {1, 1 << 20}, "100x1KiB": {100, 1 << 10},
	} {
		b.Run(name, func(b *testing.B) {
			m := appendOf(1, 2, 1, shape.bytes)
			for len(m.Entries) < shape.entries {
				m.Entries = append(m.Entries, m.Entries[0])
			}
			run(b, m, 32)
		})
	}
}

// The cost of the generated code for the same.
func BenchmarkCodec(b *testing.B) {
	m := appendOf(1, 2, 1, 200)
	wire, err := proto.Marshal(m)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		var out batch
		for range b.N {
			out.reset()
			if err := out.message(m); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encode-generated", func(b *testing.B) {
		b.ReportAllocs()
		var out []byte
		for range b.N {
			if out, err = (proto.MarshalOptions{}).MarshalAppend(out[:0], m); err != nil {
				b.Fatal(err)
			}
		}
		runtime.KeepAlive(out)
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			if _, err := decodeMessage(wire, true); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode-generated", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			if err := proto.Unmarshal(wire, &raftpb.Message{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSnapshot(b *testing.B) {
	const size = 64 << 20
	from, to := startNode(b, 1, nil), startNode(b, 2, nil)
	to.snapshot = func(_ context.Context, _ *raftpb.Message, _ int64, r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return err
	}
	introduce(from, to)
	awaitConnected(b, from, to)
	b.SetBytes(size)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		from.SendSnapshot(snapshotMessage(1, 2, 5), size, io.NopCloser(io.LimitReader(zeros{}, size)))
		if !<-from.sent {
			b.Fatal("it failed")
		}
	}
}
