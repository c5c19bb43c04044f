package v3rpc

import (
	"context"
	"math"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"

	"cairn/internal/auth"
	"cairn/internal/budget"
	"cairn/internal/invariant"
	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/mvcc"
	"cairn/internal/v3op"
)

// chunkBytes is the size above which a chunk of a streamed range accepts no further record. No
// iterator or snapshot of the store is held while a chunk waits for its client.
const chunkBytes = 256 << 10

// chunk is one RangeStreamResponse, and the mvcc.Sink that fills it.
//
// A chunk is final when the range has no record behind it, which is known only when the walk has
// looked for one. So a full chunk peeks at the next record, and leaves it to its successor.
// Invariant: of a stream's chunks only the last is final, and it has records unless the whole range
// has none (checked by streamRange).

type chunk struct {
	rangeResponse
	bytesMax int    // above this size it accepts no further record
	last     []byte // the last key in it
	keys     int64
	hasNext  bool // a record was left to the next chunk
	final    bool // has header, more and count
}

// Reset implements mvcc.Sink.
func (c *chunk) Reset() {
	c.rangeResponse.Reset()
	c.last, c.keys, c.hasNext = c.last[:0], 0, false
}

// Add implements mvcc.Sink.
func (c *chunk) Add(key []byte, r *kv.Record) bool {
	if c.listBytes() >= c.bytesMax {
		c.hasNext = true
		return false
	}
	more := c.rangeResponse.Add(key, r)
	c.last = append(c.last[:0], key...)
	c.keys++
	return more
}

// AppendWire implements grpcserver.WireAppender.
func (c *chunk) AppendWire(dst []byte) ([]byte, error) {
	if n := c.listBytes(); !c.final {
		if n == 0 {
			return dst, nil
		}
		dst = appendListHead(slices.Grow(dst, n+besidesMax), n)
		return c.appendList(dst), nil
	}
	inner, err := c.rangeResponse.AppendWire(nil)
	if err != nil {
		return nil, err
	}
	return protowire.AppendBytes(append(dst, 1<<3|byte(protowire.BytesType)), inner), nil
}

// WirePieces implements grpcserver.WirePieces.
func (c *chunk) WirePieces() (pieces [][]byte, done func(piece []byte)) {
	switch {
	case len(c.full) == 0:
		return nil, nil
	case !c.final:
		return c.takeList(appendListHead(make([]byte, 0, besidesMax), c.listBytes())), c.pieceDone()
	}
	inner, done := c.rangeResponse.WirePieces()
	n := 0
	for _, p := range inner {
		n += len(p)
	}
	inner[0] = append(appendListHead(make([]byte, 0, 2*besidesMax), n), inner[0]...)
	return inner, done
}

// appendListHead appends the tag and the length of the RangeResponse in a RangeStreamResponse.
func appendListHead(dst []byte, n int) []byte {
	return protowire.AppendVarint(append(dst, 1<<3|byte(protowire.BytesType)), uint64(n))
}

// rangeStream serves KV.RangeStream: the response of Range in chunks, all of one revision. As in
// etcd header, more and count are sent with the last records, in the last chunk. A range that is
// sorted other than by ascending key, or filtered by revisions, is one chunk, since its order is
// known only when all of it has been read.
func rangeStream(srv any, stream grpc.ServerStream) error {
	s, req := srv.(*server), new(etcdserverpb.RangeRequest)
	if err := stream.RecvMsg(req); err != nil {
		return err
	}
	op := v3op.Range(req)
	err := checkRange(op)
	if err == nil && !req.Serializable {
		err = s.member.Requests.WaitLinearizable(stream.Context())
	}
	if err == nil {
		s.meters.Ranges.Inc()
		err = s.streamRange(op, stream)
	}
	if err != nil {
		return WireError(err)
	}
	return nil
}

func (s *server) streamRange(op *mvcc.RangeOp, stream grpc.ServerStream) error {
	bytesMax := chunkBytes
	if !op.InKeyOrder() {
		bytesMax = math.MaxInt
	}
	chunks := mvcc.NewChunks(op)
	for first := true; ; first = false {
		c, sum, err := s.readChunk(stream.Context(), op.KeyRange, chunks.Rest(), bytesMax, first)
		if err != nil {
			return err
		}
		if !c.hasNext {
			all := chunks.Total(sum)
			invariant.Check(c.keys > 0 || all.Count == sum.Count, "the last chunk of a range of %d records holds none", all.Count)
			c.final = true
			c.header, c.more, c.count = s.header(all.Revision), all.More, all.Count
			return c.send(stream)
		}
		chunks.Pass(c.last, c.keys, sum)
		if err := c.send(stream); err != nil {
			return err
		}
	}
}

// send sends a chunk and releases it, also when the stream has ended before it was encoded.
func (c *chunk) send(stream grpc.ServerStream) error {
	err := stream.SendMsg(c)
	if err != nil {
		c.Drop()
	}
	return err
}

// readChunk reads the next chunk of rest, the unread part of a range that the caller must be
// permitted to read. If the chunk has no successor, the summary is that of rest.
func (s *server) readChunk(ctx context.Context, all kv.KeyRange, rest *mvcc.RangeOp, bytesMax int, first bool) (c *chunk, sum mvcc.RangeSummary, err error) {
	c = &chunk{bytesMax: bytesMax}
	c.keysOnly = rest.KeysOnly
	began := time.Now()
	c.walk = budget.NewWalk(ctx, budget.FromContext(ctx))
	if !first { // it is a part of a long read
		if err := c.walk.Account().BeginLong(ctx); err != nil {
			return c, sum, err
		}
		defer c.walk.Account().EndLong()
		c.walk.HasTurn()
	}
	err = c.walk.Run(&c.rangeResponse, false, func() error {
		return s.read(ctx, permitRange(all), func() (err error) {
			c.Reset()
			sum, err = s.member.Requests.Keys().Range(rest, c)
			return err
		})
	})
	s.meters.Range(err == nil).Observe(time.Since(began).Seconds())
	return c, sum, err
}

func permitRange(keys kv.KeyRange) func(*auth.Subject) error {
	return func(subject *auth.Subject) error { return machine.PermitRange(subject, keys) }
}
