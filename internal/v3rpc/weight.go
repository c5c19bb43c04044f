package v3rpc

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/protobuf/proto"

	"cairn/internal/auth"
	"cairn/internal/budget"
	"cairn/internal/mvcc"
)

// weight is what a request takes from its client's account for what it reads, or deletes, of
// several keys. It is taken before the request is proposed: what has been applied cannot wait for
// memory.
//
// A nil *weight weighs nothing.
type weight struct {
	walk   budget.Walk
	lane   chan struct{} // given back by end, if not nil
	passed int           // bytes of records that have been read
}

// longWriteBytes is from which weight on a request has to wait for others of the kind before it is
// proposed: the applier handles one command at a time, and short ones must get their turn.
const longWriteBytes = 1 << 20

func newWeight(ctx context.Context) *weight {
	return &weight{walk: budget.NewWalk(ctx, budget.FromContext(ctx))}
}

// Gather implements mvcc.Control.
func (w *weight) Gather(n int) bool {
	w.passed += n
	return w.walk.Gather(int64(n))
}

// Pause implements mvcc.Control.
func (w *weight) Pause() error { return w.walk.Pause() }

// Drop implements budget.Response.
func (w *weight) Drop() { w.passed = 0 }

// Bytes implements budget.Response: all is gathered.
func (w *weight) Bytes() int64 { return 0 }

// end gives back what was taken. It may be called several times.
func (w *weight) end() {
	if w == nil {
		return
	}
	w.walk.ReleaseGathered()
	if w.lane != nil {
		<-w.lane
		w.lane = nil
	}
}

// weigh takes what a transaction needs that is about to be proposed. The caller must end it.
func (s *server) weigh(ctx context.Context, t *mvcc.TxnOp, permit func(*auth.Subject) error) (*weight, error) {
	w := newWeight(ctx)
	w.walk.AtMost(func() int64 { return txnAtMost(s.member.Requests.Keys().Reading(), t) })
	err := w.walk.Run(w, true, func() error {
		return s.read(ctx, permit, func() error {
			// Any other error is left to the transaction, which meets it again when it is applied.
			switch err := s.member.Requests.Keys().Weigh(t, w); {
			case errors.Is(err, budget.ErrEndedEarly), errors.Is(err, mvcc.ErrStopped), ctx.Err() != nil:
				return err
			default:
				return nil
			}
		})
	})
	if err == nil && w.passed > longWriteBytes {
		select {
		case s.longWrites <- struct{}{}:
			w.lane = s.longWrites
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err != nil {
		w.end()
		return nil, err
	}
	return w, nil
}

// hold returns a response as it is, or one that counts in the client's account until it has been
// encoded. It takes over what the weight has taken.
func (w *weight) hold(ctx context.Context, m proto.Message) (any, error) {
	n := proto.Size(m)
	if n <= heldBytesMin {
		return m, nil
	}
	if w == nil || w.walk.Gathered() < int64(n)/2 {
		return holdMessage(ctx, m)
	}
	bytes := w.walk.Gathered()
	w.walk.Keep()
	return &heldResponse{m, held{account: w.walk.Account(), bytes: bytes, response: true}}, nil
}

// holdMessage returns a response as it is, or one that counts in the client's account until it has
// been encoded.
func holdMessage(ctx context.Context, m proto.Message) (any, error) {
	if _, counts := m.(*heldResponse); counts {
		return m, nil
	}
	n := proto.Size(m)
	if n <= heldBytesMin {
		return m, nil
	}
	h, err := holdResult(ctx, n)
	if err != nil {
		return nil, err
	}
	return &heldResponse{m, h}, nil
}

// heldBytesMin is the size up to which a result does not count.
const heldBytesMin = 4 << 10

// held is what a result that waits to be encoded has taken from its client's account.
type held struct {
	account  *budget.Account
	bytes    int64
	response bool // taken as a response
}

func (h *held) release() {
	if h.response {
		h.account.GiveResponse(h.bytes)
	} else {
		h.account.Give(h.bytes)
	}
	h.bytes = 0
}

// holdResult counts a result of n bytes of a command that has been applied. When the client already
// has more than its share, because it does not read, the result is dropped, and the client is left
// in doubt as after a time-out.
func holdResult(ctx context.Context, n int) (held, error) {
	h := held{account: budget.FromContext(ctx)}
	if n <= heldBytesMin {
		return h, nil
	}
	if !h.account.TryTake(int64(n)) {
		return h, rpctypes.ErrGRPCTimeout
	}
	h.bytes = int64(n)
	return h, nil
}

// heldResponse is a message that is released when it is encoded.
type heldResponse struct {
	proto.Message
	held held
}

// SizeWire implements grpcserver.WireSizer.
func (r *heldResponse) SizeWire() int { return proto.Size(r.Message) }

// AppendWire implements grpcserver.WireAppender.
func (r *heldResponse) AppendWire(dst []byte) ([]byte, error) {
	dst, err := proto.MarshalOptions{}.MarshalAppend(dst, r.Message)
	r.Message = nil
	r.held.release()
	return dst, err
}

// readsRanges reports whether a transaction looks at ranges of keys.
func readsRanges(t *mvcc.TxnOp) bool {
	for i := range t.Compares {
		if !t.Compares[i].SingleKey() {
			return true
		}
	}
	for _, branch := range [][]mvcc.Op{t.Success, t.Failure} {
		for i := range branch {
			switch op := &branch[i]; {
			case op.Range != nil && !op.Range.SingleKey(), op.Delete != nil && !op.Delete.SingleKey(), op.Txn != nil && readsRanges(op.Txn):
				return true
			}
		}
	}
	return false
}

func oneRecord() int64 { return 1 }

// rangeAtMost returns how many records a range returns at most.
func rangeAtMost(keys mvcc.Reading, op *mvcc.RangeOp) int64 {
	n := keys.CountAtMost(op.KeyRange)
	if op.Limit > 0 {
		n = min(n, op.Limit)
	}
	return n
}

// txnAtMost returns how many records the ranges and deletes of a transaction read at most, in the
// larger one of its branches.
func txnAtMost(keys mvcc.Reading, t *mvcc.TxnOp) int64 {
	branch := func(ops []mvcc.Op) (n int64) {
		for i := range ops {
			switch op := &ops[i]; {
			case op.Range != nil:
				n += rangeAtMost(keys, op.Range)
			case op.Delete != nil:
				n += keys.CountAtMost(op.Delete.KeyRange)
			case op.Txn != nil:
				n += txnAtMost(keys, op.Txn)
			}
		}
		return n
	}
	return max(branch(t.Success), branch(t.Failure))
}
