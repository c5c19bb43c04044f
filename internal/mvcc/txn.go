package mvcc

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"

	"cairn/internal/kv"
)

// ranger serves the comparisons and reads of a transaction: the open command of a Writer, or a
// Store at one Head.
type ranger interface {
	Range(op *RangeOp, sink Sink) (RangeSummary, error)
}

// headRanger reads a store at one head.
type headRanger struct {
	s    *Store
	head *Head
}

func (r headRanger) Range(op *RangeOp, sink Sink) (RangeSummary, error) {
	return r.s.RangeAt(r.head, op, sink)
}

// Txn runs a transaction inside the open command. After an error the caller must abort the command,
// which undoes the whole transaction.
func (w *Writer) Txn(t *TxnOp) (TxnResult, error) { return w.runTxn(txnRun{}, t) }

// TxnWithoutKeys is Txn without the keys that its ranges find, for a caller that needs no result.
// It reads them as Txn does, since all members must refuse a transaction that returns too much.
func (w *Writer) TxnWithoutKeys(t *TxnOp) error {
	_, err := w.runTxn(txnRun{withoutKeys: true}, t)
	return err
}

func (w *Writer) runTxn(run txnRun, t *TxnOp) (TxnResult, error) {
	run.r, run.w, run.room, run.began = w, w, txnResultBytesMax, w.Revision()
	res, err := run.do(t)
	res.setRevision(w.Revision())
	return res, err
}

// setRevision sets the revision of a result, and of the transactions nested in it, to the one at
// which the whole transaction ended.
func (r *TxnResult) setRevision(rev int64) {
	r.Revision = rev
	for i := range r.Results {
		if r.Results[i].Txn != nil {
			r.Results[i].Txn.setRevision(rev)
		}
	}
}

// Control limits a read that takes long, or returns much: see Gatherer and Pauser.
type Control interface {
	Gatherer
	Pauser
}

// Unlimited is a Control that never stops a read.
var Unlimited Control = unlimited{}

type unlimited struct{}

// Gather implements Gatherer.
func (unlimited) Gather(int) bool { return true }

// Pause implements Pauser.
func (unlimited) Pause() error { return nil }

// ErrStopped is returned by a read that its Control has stopped.
var ErrStopped = errors.New("read stopped by its caller")

// ReadTxn runs a transaction that only reads; all of it sees one revision. limit, if not nil, may
// stop it.
func (s *Store) ReadTxn(t *TxnOp, limit Control) (TxnResult, error) {
	return s.readTxn(t, limit, false)
}

// Weigh reads what a transaction would read and delete if it were applied now, and gives it to
// limit without keeping it. So a caller can take what the transaction will need before it is
// proposed.
func (s *Store) Weigh(t *TxnOp, limit Control) error {
	_, err := s.readTxn(t, limit, true)
	return err
}

func (s *Store) readTxn(t *TxnOp, limit Control, weigh bool) (TxnResult, error) {
	for {
		head := s.stableHead()
		run := txnRun{r: headRanger{s, head}, room: txnResultBytesMax, limit: limit, weigh: weigh}
		if weigh {
			run.room = math.MaxInt64 // limit decides
		}
		res, err := run.do(t)
		if errors.Is(err, ErrOvertaken) {
			if err := s.awaitNext(head); err != nil {
				return TxnResult{}, err
			}
			continue
		}
		if err != nil {
			return TxnResult{}, err // a caller that waits holds no part of a result
		}
		res.setRevision(head.Revision)
		return res, nil
	}
}

// txnResultBytesMax is the maximum size of the keys and values that a transaction returns. Every
// member that applies the transaction holds the whole result in memory.
const txnResultBytesMax = 256 << 20

// txnRun executes one transaction, with those nested in it.
type txnRun struct {
	r     ranger
	w     *Writer // nil where no operation writes
	room  int64   // remaining bytes of txnResultBytesMax
	limit Control // of a transaction that is not applied; may be nil
	weigh bool    // only give what is read to limit

	withoutKeys bool // leave the keys out of the results of ranges
	// deferAbove is how many bytes of keys and values of a range are collected; 0 means all. See
	// Writer.TxnDeferring.
	deferAbove int
	began      int64 // the revision at which the transaction began
	writes     int   // operations that may write and have not run yet

	// path has the outcome of the comparisons of each executed transaction, in the order of
	// execution.
	path []bool
}

// do evaluates all comparisons, including those of nested transactions, before it writes anything,
// as etcd does: a comparison does not see the transaction's own puts. Then it runs the branches.
func (x *txnRun) do(t *TxnOp) (res TxnResult, err error) {
	if err := x.decide(t); err != nil {
		return res, err
	}
	return x.txn(t)
}

// decide evaluates the comparisons of a transaction and of those nested in the chosen branch.
func (x *txnRun) decide(t *TxnOp) error {
	succeeds, err := x.holds(t.Compares)
	if err != nil {
		return err
	}
	x.path = append(x.path, succeeds)
	ops := t.branch(succeeds)
	for i := range ops {
		switch {
		case ops[i].Txn != nil:
			if err := x.decide(ops[i].Txn); err != nil {
				return err
			}
		case ops[i].Put != nil, ops[i].Delete != nil:
			x.writes++
		}
	}
	return nil
}

// branch returns the operations of the Success branch or of the Failure branch.
func (t *TxnOp) branch(succeeds bool) []Op {
	if succeeds {
		return t.Success
	}
	return t.Failure
}

// txn runs the chosen branch.
func (x *txnRun) txn(t *TxnOp) (res TxnResult, err error) {
	res.Succeeded, x.path = x.path[0], x.path[1:]
	ops := t.branch(res.Succeeded)
	res.Results = make([]OpResult, len(ops))
	for i := range ops {
		if err := x.op(&ops[i], &res.Results[i]); err != nil {
			return res, err
		}
	}
	return res, nil
}

func (x *txnRun) op(op *Op, out *OpResult) error {
	w := x.w
	switch {
	case op.Range != nil:
		if op.Range.Revision < 0 {
			// as in etcd; outside a transaction, such a range reads the newest revision
			return ErrCompacted
		}
		return x.rangeKeys(op.Range, out)
	case op.Txn != nil:
		res, err := x.txn(op.Txn)
		out.Txn = &res
		return err
	case x.weigh:
		if op.Delete == nil {
			return nil
		}
		// The deleted records, too, stay in memory until the batch is committed.
		return x.rangeKeys(&RangeOp{KeyRange: op.Delete.KeyRange}, out)
	case w == nil:
		return fmt.Errorf("write in a transaction that only reads")
	case op.Put != nil:
		x.writes--
		if put := op.Put; put.Lease != 0 && (put.IgnoreValue || put.IgnoreLease) {
			// As in etcd, a transaction reports a missing key first, and a single put a missing
			// lease.
			if old, ok, err := w.newest(put.Key); err != nil || !ok || old.Deleted {
				return cmp.Or(err, ErrKeyNotFound)
			}
		}
		res, err := w.Put(op.Put)
		out.Put = &res
		return err
	case op.Delete != nil:
		x.writes--
		res, err := w.Delete(op.Delete)
		out.Delete = &res
		return err
	default:
		return fmt.Errorf("transaction with an operation of no kind")
	}
}

func (x *txnRun) rangeKeys(op *RangeOp, out *OpResult) error {
	keys := roomCollector{Collector: Collector{KeysOnly: op.KeysOnly}, room: x.room, limit: x.limit, withoutKeys: x.weigh || x.withoutKeys}
	deferred := x.deferrable(op)
	if deferred != nil {
		keys.deferAbove = x.deferAbove
	}
	sum, err := x.r.Range(op, &keys)
	switch {
	case err != nil:
	case keys.room < 0:
		err = ErrTooLarge
	case keys.stopped:
		err = ErrStopped
	}
	x.room = keys.room
	out.Range = &RangeResult{Revision: sum.Revision, Keys: keys.Keys, More: sum.More, Count: sum.Count}
	if keys.deferred {
		out.Range.deferred = deferred
	}
	return err
}

// roomCollector is a Collector with a limit of bytes; room is negative once the limit was exceeded.
type roomCollector struct {
	Collector
	room    int64
	limit   Control
	stopped bool // by limit

	withoutKeys bool // count, and keep nothing
	deferAbove  int  // keep nothing once there are more bytes than this; 0 means no limit
	kept        int  // bytes
	deferred    bool // there were more
}

// Add implements Sink.
func (c *roomCollector) Add(key []byte, r *kv.Record) bool {
	n := len(key)
	if !c.KeysOnly {
		n += len(r.Value)
	}
	if c.room -= int64(n); c.room < 0 {
		return false
	}
	if c.limit != nil && !c.limit.Gather(n+recordBytes) {
		c.stopped = true
		return false
	}
	if c.withoutKeys || c.deferred {
		return true
	}
	if c.kept += n; c.deferAbove > 0 && c.kept > c.deferAbove {
		c.Keys, c.deferred = nil, true
		return true
	}
	return c.Collector.Add(key, r)
}

// Pause implements Pauser.
func (c *roomCollector) Pause() error { return pauseFor(c.limit) }

// Gather implements Gatherer: records that are sorted count as soon as they are read.
func (c *roomCollector) Gather(n int) bool {
	c.stopped = c.stopped || c.limit != nil && !c.limit.Gather(n)
	return !c.stopped
}

func pauseFor(limit Control) error {
	if limit == nil {
		return nil
	}
	return limit.Pause()
}

// holds reports whether all comparisons hold.
func (x *txnRun) holds(compares []Compare) (bool, error) {
	for i := range compares {
		c := &compares[i]
		check := comparison{c: c, ok: true, limit: x.limit}
		if _, err := x.r.Range(&RangeOp{KeyRange: c.KeyRange, KeysOnly: c.Target != CompareValue}, &check); err != nil {
			return false, err
		}
		if !check.any {
			// A range without keys is compared like a key whose version, revisions and lease are 0;
			// it has no value, so no comparison of values holds.
			check.ok = c.Target != CompareValue && c.holds(&kv.Record{})
		}
		if !check.ok {
			return false, nil
		}
	}
	return true, nil
}

// comparison is a Sink that compares every key of the range.
type comparison struct {
	c       *Compare
	any, ok bool
	limit   Control
}

// Pause implements Pauser.
func (s *comparison) Pause() error { return pauseFor(s.limit) }

func (s *comparison) Add(_ []byte, r *kv.Record) bool {
	s.any = true
	s.ok = s.c.holds(r)
	return s.ok
}

func (s *comparison) Reset() { s.any, s.ok = false, true }

func (c *Compare) holds(r *kv.Record) bool {
	var order int
	switch c.Target {
	case CompareVersion:
		order = cmp.Compare(r.Version, c.Number)
	case CompareCreate:
		order = cmp.Compare(r.CreateRevision, c.Number)
	case CompareMod:
		order = cmp.Compare(r.Mod.Main, c.Number)
	case CompareValue:
		order = bytes.Compare(r.Value, c.Value)
	case CompareLease:
		order = cmp.Compare(int64(r.Lease), c.Number)
	}
	switch c.Result {
	case CompareEqual:
		return order == 0
	case CompareNotEqual:
		return order != 0
	case CompareGreater:
		return order > 0
	case CompareLess:
		return order < 0
	default:
		return true // as in etcd, where every unknown result holds
	}
}
