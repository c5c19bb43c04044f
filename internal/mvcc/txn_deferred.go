package mvcc

import "fmt"

// A range in a transaction may return megabytes. What they are has to be found out when the
// transaction is applied, since all members must refuse a transaction that returns too much; but
// copying them would hold the applier for many times as long. So the applier walks the range, and
// the keys are read again when the transaction is visible, as of the revision that the range saw.

// TxnDeferring is Txn, except that it leaves out the keys of ranges in key order that have more
// than deferAbove bytes of keys and values. ReadDeferred reads them.
//
// A range is not deferred if it sees a state that no revision has: when it comes after one write of
// the transaction and before another.
func (w *Writer) TxnDeferring(t *TxnOp, deferAbove int) (TxnResult, error) {
	return w.runTxn(txnRun{deferAbove: max(1, deferAbove)}, t)
}

// deferrable returns the range that reads the same keys when the transaction is visible, or nil if
// the keys have to be collected now.
func (x *txnRun) deferrable(op *RangeOp) *RangeOp {
	if x.deferAbove == 0 || op.CountOnly || op.SingleKey() || !op.InKeyOrder() {
		return nil
	}
	later := *op
	if later.Revision <= 0 {
		later.Revision = x.w.Revision()
	}
	if later.Revision > x.began && x.writes > 0 {
		return nil
	}
	return &later
}

// Deferred reports whether keys were left out that ReadDeferred has to read.
func (r *TxnResult) Deferred() bool {
	for i := range r.Results {
		switch o := &r.Results[i]; {
		case o.Txn != nil && o.Txn.Deferred(), o.Range != nil && o.Range.deferred != nil:
			return true
		}
	}
	return false
}

// ReadDeferred reads the keys that were left out of the result of a transaction. The transaction
// must have been published. From then until ReadDeferred returns the history must be neither
// compacted nor replaced; else it returns ErrOvertaken.
func (s *Store) ReadDeferred(r *TxnResult) error {
	for i := range r.Results {
		o := &r.Results[i]
		if o.Txn != nil {
			if err := s.ReadDeferred(o.Txn); err != nil {
				return err
			}
			continue
		}
		if o.Range == nil || o.Range.deferred == nil {
			continue
		}
		op := o.Range.deferred
		keys := Collector{KeysOnly: op.KeysOnly}
		v := view{src: s, rev: op.Revision}
		// The range has been counted when the transaction was applied.
		_, err := v.run(op, &keys, func(_, _ []byte) (int64, error) { return 0, nil })
		if err != nil {
			return fmt.Errorf("read the result of a transaction at revision %d: %w", op.Revision, err)
		}
		o.Range.Keys, o.Range.deferred = keys.Keys, nil
	}
	return nil
}
