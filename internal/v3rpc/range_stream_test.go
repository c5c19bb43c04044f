package v3rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"cairn/internal/kv"
	"cairn/internal/metrics"
	"cairn/internal/mvcc"
	"cairn/internal/watch"
)

// sentChunks is the stream of a RangeStream call. It decodes the bytes that the transport would
// send.
type sentChunks struct {
	grpc.ServerStream
	ctx    context.Context
	chunks []*etcdserverpb.RangeResponse
	err    error  // how the call ended
	onSend func() // called while the client reads a chunk, unless nil
}

// Context implements grpc.ServerStream.
func (s *sentChunks) Context() context.Context { return s.ctx }

// SendMsg implements grpc.ServerStream.
func (s *sentChunks) SendMsg(m any) error {
	c := m.(*chunk)
	pieces, done := c.WirePieces()
	b := bytes.Join(pieces, nil)
	if pieces == nil {
		var err error
		if b, err = c.AppendWire(nil); err != nil {
			return err
		}
	}
	for _, p := range pieces {
		done(p)
	}
	got := new(etcdserverpb.RangeStreamResponse)
	if err := proto.Unmarshal(b, got); err != nil {
		return err
	}
	s.chunks = append(s.chunks, got.RangeResponse)
	if s.onSend != nil {
		s.onSend()
	}
	return nil
}

// merged checks the chunks against the published semantics and returns their sum: header, more and
// count come with the last records, and no chunk is empty unless the response is.
func (s *sentChunks) merged() (*etcdserverpb.RangeResponse, error) {
	if s.err != nil {
		return nil, s.err
	}
	sum := new(etcdserverpb.RangeResponse)
	for i, c := range s.chunks {
		last := i == len(s.chunks)-1
		switch {
		case c == nil:
			return nil, fmt.Errorf("chunk %d of %d has no range_response", i+1, len(s.chunks))
		case last != (c.Header != nil):
			return nil, fmt.Errorf("chunk %d of %d has the header %v", i+1, len(s.chunks), c.Header)
		case !last && (c.More || c.Count != 0):
			return nil, fmt.Errorf("chunk %d of %d has more %t, count %d", i+1, len(s.chunks), c.More, c.Count)
		case len(c.Kvs) == 0 && len(s.chunks) > 1:
			return nil, fmt.Errorf("chunk %d of %d has no records", i+1, len(s.chunks))
		}
		proto.Merge(sum, c)
	}
	return sum, nil
}

func (m *localStore) stream(ctx context.Context, op *mvcc.RangeOp, onSend func()) *sentChunks {
	s := &server{member: m.member(), meters: metrics.New(1)}
	out := &sentChunks{ctx: ctx, onSend: onSend}
	out.err = s.streamRange(op, out)
	return out
}

// TestRangeStreamChunks compares the chunks with the response of Range, for records around the size
// of a chunk, every limit, order, and kind of response.
func TestRangeStreamChunks(t *testing.T) {
	text := bytes.Repeat([]byte("v"), 2*chunkBytes)
	rapid.Check(t, func(rt *rapid.T) {
		m := newLocalStore(t, watch.Limits{})
		size := rapid.SampledFrom([]int{0, 1000, chunkBytes/2 - 40, chunkBytes / 2, chunkBytes - 60, chunkBytes - 1, chunkBytes, chunkBytes + 1, 2 * chunkBytes})
		records := rapid.IntRange(0, 8).Draw(rt, "records")
		for i := range records {
			m.put(t, fmt.Sprintf("k%d", i), text[:size.Draw(rt, "size")])
		}
		m.put(t, "other", nil)
		op := mvcc.RangeOp{
			KeyRange:  kv.KeyRange{Key: []byte("k"), End: []byte("l")},
			KeysOnly:  rapid.IntRange(0, 3).Draw(rt, "keys only") == 0,
			CountOnly: rapid.IntRange(0, 7).Draw(rt, "count only") == 0,
			Order:     mvcc.SortOrder(rapid.IntRange(0, 2).Draw(rt, "order")),
			Target:    mvcc.SortTarget(rapid.SampledFrom([]int{0, 0, 0, 3}).Draw(rt, "target")),
		}
		if rapid.Bool().Draw(rt, "bounded") {
			op.MinMod = int64(rapid.IntRange(0, records+2).Draw(rt, "oldest"))
		}
		if rapid.Bool().Draw(rt, "older") {
			op.Revision = int64(rapid.IntRange(1, records+1).Draw(rt, "revision"))
		}
		for op.Limit = 0; op.Limit <= int64(records)+1; op.Limit++ {
			whole := &rangeResponse{keysOnly: op.KeysOnly}
			sum, err := m.keys.Range(&op, whole)
			if err != nil {
				rt.Fatal(err)
			}
			whole.header = (&server{member: m.member()}).header(sum.Revision)
			whole.more, whole.count = sum.More, sum.Count
			b, err := whole.AppendWire(nil)
			want := new(etcdserverpb.RangeResponse)
			if err = errors.Join(err, proto.Unmarshal(b, want)); err != nil {
				rt.Fatal(err)
			}
			got, err := m.stream(t.Context(), &op, nil).merged()
			if err != nil {
				rt.Fatalf("%+v: %v", op, err)
			}
			if !proto.Equal(normal(got), normal(want)) {
				rt.Fatalf("%+v: %d records, more %t, count %d, header %v; Range has %d, %t, %d, %v", op,
					len(got.Kvs), got.More, got.Count, got.Header, len(want.Kvs), want.More, want.Count, want.Header)
			}
		}
	})
}

// TestRangeStreamIsOneRevision writes while a client reads the chunks.
func TestRangeStreamIsOneRevision(t *testing.T) {
	m := newLocalStore(t, watch.Limits{})
	value := bytes.Repeat([]byte("v"), chunkBytes)
	for i := range 5 {
		m.put(t, fmt.Sprintf("k%d", i), value)
	}
	op := &mvcc.RangeOp{KeyRange: kv.KeyRange{Key: []byte("k"), End: []byte("l")}}
	want := m.keys.Head().Revision
	out := m.stream(t.Context(), op, func() { // between any two chunks
		m.put(t, "k0", nil)
		m.put(t, "k3", []byte("newer"))
		m.put(t, "k9", nil)
	})
	got, err := out.merged()
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Kvs) != 5 || got.Count != 5 || got.More || got.Header.Revision != want || len(got.Kvs[3].Value) != chunkBytes {
		t.Errorf("%d records, count %d, more %t, revision %d; want 5, 5, false, %d", len(got.Kvs), got.Count, got.More, got.Header.Revision, want)
	}
}

// TestRangeStreamDuringSnapshots streams ranges while snapshots are installed all the time: a
// response is complete, also when the store is replaced between two reads for one chunk. Most of
// the ranges are short, so that a replacement often begins inside such a gap.
func TestRangeStreamDuringSnapshots(t *testing.T) {
	m := newLocalStore(t, watch.Limits{})
	const records, snapshots = 10, 60
	for i := range records {
		m.put(t, fmt.Sprintf("long%d", i), bytes.Repeat([]byte("v"), chunkBytes/(1+i%4)))
		m.put(t, fmt.Sprintf("short%d", i), []byte("v"))
	}
	older := m.keys.Head().Revision // so that the store must walk to count
	for range 2 * records {
		m.put(t, "other", nil)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range snapshots {
			m.replace(t)
		}
	}()
	for i := 0; ; i++ {
		select {
		case <-done:
			return
		default:
		}
		op := &mvcc.RangeOp{KeyRange: kv.KeyRange{Key: []byte("short"), End: []byte("shoru")}, Limit: int64(i % (records + 2)), Revision: older}
		if i%100 == 0 {
			op.KeyRange = kv.KeyRange{Key: []byte("long"), End: []byte("lonh")}
		}
		want := records
		if op.Limit > 0 {
			want = min(want, int(op.Limit))
		}
		got, err := m.stream(t.Context(), op, nil).merged()
		if err != nil {
			t.Fatalf("stream %d, limit %d: %v", i, op.Limit, err)
		}
		if len(got.Kvs) != want || got.Count != records || got.More != (want < records) {
			t.Fatalf("stream %d, limit %d: %d records, count %d, more %t; want %d, %d", i, op.Limit, len(got.Kvs), got.Count, got.More, want, records)
		}
	}
}
