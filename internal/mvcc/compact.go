package mvcc

import (
	"errors"
	"fmt"
	"sort"

	"cairn/internal/kv"
	"cairn/internal/storage"
)

// Compact drops the history before rev: from now on no read may name an older revision. It is a
// command of its own, outside Start and End, and does not increment the revision. It returns
// ErrCompacted when rev is not after the last compaction and ErrFutureRevision when it is above the
// head.
//
// One range deletion removes the events; no later event needs an earlier one. The events of rev
// itself stay, since a read or a watch may start there, but the values that they replaced are
// dropped, because no request can read them. So deleting everything and compacting to that revision
// frees the space. SweepTombstones removes the tombstones that the compaction has passed; until
// then readers ignore them.
func (w *Writer) Compact(rev int64) error {
	switch {
	case rev <= w.head.CompactRevision:
		return ErrCompacted
	case rev > w.head.Revision:
		return ErrFutureRevision
	}
	from, to := eventKey(nil, kv.Revision{}), eventKey(nil, kv.Revision{Main: rev})
	if err := w.b.DeleteRange(from, to); err != nil {
		return fmt.Errorf("delete events: %w", err)
	}
	if err := w.dropReplaced(rev); err != nil {
		return fmt.Errorf("drop replaced values of revision %d: %w", rev, err)
	}
	w.head.compactedBefore, w.head.CompactRevision = w.head.CompactRevision, rev
	return nil
}

// dropReplaced removes the replaced values from the events of a revision.
func (w *Writer) dropReplaced(rev int64) (err error) {
	rewrite := func(e *event) error {
		if len(e.Prev.Value) == 0 {
			return nil
		}
		less := *e
		less.Prev.Value, less.PrevGone = nil, true
		w.buf = appendEvent(w.buf[:0], &less)
		return w.b.Append(eventKey(make([]byte, 0, 13), e.Record.Mod), w.buf)
	}
	if rev > w.s.head.Load().Revision { // a change in this batch
		i := sort.Search(len(w.events), func(i int) bool { return w.events[i].Record.Mod.Main >= rev })
		for ; err == nil && i < len(w.events) && w.events[i].Record.Mod.Main == rev; i++ {
			err = rewrite(&w.events[i])
		}
		return err
	}
	it := w.s.db.NewIter(eventKey(nil, kv.Revision{Main: rev}), eventKey(nil, kv.Revision{Main: rev + 1}))
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		mod, err := parseEventKey(it.Key())
		if err != nil {
			return err
		}
		e, err := decodeEvent(mod, it.Value())
		if err == nil {
			err = rewrite(&e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// SweepTombstones removes up to limit tombstones that the compaction has passed, oldest first, and
// reports whether some are left. It is local work between batches: it does not affect commands, so
// members may do it at different times.
func (w *Writer) SweepTombstones(limit int) (more bool, err error) {
	if w.Swept() {
		return false, nil
	}
	s, compacted := w.s, w.s.head.Load().CompactRevision
	// Start where the last sweep ended: all entries before that are deleted, and the iterator would
	// have to skip them.
	lower, upper := tombstoneKey(nil, w.swept), tombstoneKey(nil, kv.Revision{Main: compacted + 1})
	it := s.db.NewIter(lower, upper)
	b := s.db.NewBatch()
	defer b.Close() //nolint:errcheck // holds memory only
	n, at := 0, kv.Revision{Main: compacted + 1}
	var buf []byte
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		if n == limit {
			more = true
			at, err = parseEventKey(it.Key())
			break
		}
		n++
		buf, err = s.sweep(b, it.Key(), it.Value(), buf)
	}
	if err = errors.Join(err, it.Close()); err == nil && n > 0 {
		err = b.Commit(false)
	}
	if err != nil {
		return false, err
	}
	w.swept = at
	return more, nil
}

// Swept reports whether SweepTombstones has nothing to do.
func (w *Writer) Swept() bool { return w.swept.Main > w.s.head.Load().CompactRevision }

// sweep removes one entry of table x and, if the key is still deleted since that revision, its
// tombstone.
func (s *Store) sweep(b *storage.Batch, entry, key, buf []byte) ([]byte, error) {
	rev, err := parseEventKey(entry)
	if err != nil {
		return buf, err
	}
	current := currentKey(nil, key)
	buf, err = s.db.Get(current, buf[:0])
	switch {
	case errors.Is(err, storage.ErrNotFound):
	case err != nil:
		return buf, fmt.Errorf("read key: %w", err)
	default:
		r, err := decodeRecord(buf)
		if err != nil {
			return buf, err
		}
		if r.Deleted && r.Mod == rev {
			if err := b.Remove(current); err != nil {
				return buf, err
			}
		}
	}
	return buf, b.Remove(entry)
}
