package v3rpc

import (
	"bytes"
	"slices"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"

	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/mvcc"
)

// chunkBytes is how much of a streamed range is read, and held, at a time. While a
// client takes its time over one chunk nothing of the store is pinned for it.
const chunkBytes = 256 << 10

// chunk is one RangeStreamResponse, and the Sink that fills it.
type chunk struct {
	rangeResponse
	last  []byte // the last key in it
	keys  int64
	final bool // carries header, more and count
}

// Reset implements mvcc.Sink.
func (c *chunk) Reset() {
	c.rangeResponse.Reset()
	c.last, c.keys = c.last[:0], 0
}

// Add implements mvcc.Sink.
func (c *chunk) Add(key []byte, r *kv.Record) bool {
	c.rangeResponse.Add(key, r)
	c.last = append(c.last[:0], key...)
	c.keys++
	return !c.filled()
}

func (c *chunk) filled() bool { return c.listBytes() >= chunkBytes }

// AppendWire implements h2grpc.WireAppender.
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

// WirePieces implements h2grpc.WirePieces.
func (c *chunk) WirePieces() (pieces [][]byte, done func(piece []byte)) {
	switch {
	case len(c.full) == 0:
		return nil, nil
	case !c.final:
		return c.takeList(appendListHead(make([]byte, 0, besidesMax), c.listBytes())), freePiece
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

// rangeStream answers KV.RangeStream: the answer of Range in pieces, all of one
// revision. A range that is sorted otherwise than its keys, or bounded by revisions, is one
// piece, since its order is known only when all of it has been read.
func rangeStream(srv any, stream grpc.ServerStream) error {
	s, req := srv.(*server), new(etcdserverpb.RangeRequest)
	if err := stream.RecvMsg(req); err != nil {
		return err
	}
	op := rangeOp(req)
	err := checkRange(op)
	if err == nil && !req.Serializable {
		err = s.member.WaitLinearizable(stream.Context())
	}
	if err == nil {
		err = s.streamRange(op, stream)
	}
	if err != nil {
		return wireError(err)
	}
	return nil
}

func (s *server) streamRange(op *mvcc.RangeOp, stream grpc.ServerStream) error {
	permit := func(who *auth.Subject) error { return machine.PermitRange(who, op.KeyRange) }
	head := s.member.Keys().Head()
	whole := op.SingleKey() || op.CountOnly || !op.InKeyOrder()
	rest := *op
	if rest.Revision <= 0 {
		rest.Revision = head.Revision
	}
	for !whole {
		c := &chunk{}
		c.keysOnly = op.KeysOnly
		err := s.read(stream.Context(), permit, func() error {
			c.Reset()
			_, err := s.member.Keys().Range(&rest, c)
			return err
		})
		if err != nil {
			return err
		}
		if !c.filled() {
			return s.finishStream(op, head, rest.Revision, c, stream)
		}
		if err := stream.SendMsg(c); err != nil {
			return err
		}
		rest.Key = append(bytes.Clone(c.last), 0)
		if rest.Limit -= c.keys; op.Limit > 0 && rest.Limit == 0 {
			return s.finishStream(op, head, rest.Revision, &chunk{}, stream)
		}
	}
	c := &chunk{final: true}
	c.keysOnly = op.KeysOnly
	var sum mvcc.RangeSummary
	err := s.read(stream.Context(), permit, func() (err error) {
		c.rangeResponse.Reset()
		sum, err = s.member.Keys().Range(op, &c.rangeResponse)
		return err
	})
	if err != nil {
		return err
	}
	c.header, c.more, c.count = s.header(sum.Revision), sum.More, sum.Count
	return stream.SendMsg(c)
}

// finishStream sends the last chunk, with what is known of the whole range.
func (s *server) finishStream(op *mvcc.RangeOp, head *mvcc.Head, revision int64, c *chunk, stream grpc.ServerStream) error {
	total := mvcc.RangeOp{KeyRange: op.KeyRange, Revision: revision, CountOnly: true}
	sum, err := s.member.Keys().Range(&total, c)
	if err != nil {
		return err
	}
	c.final = true
	c.header, c.count = s.header(head.Revision), sum.Count
	c.more = op.Limit > 0 && sum.Count > op.Limit
	return stream.SendMsg(c)
}
