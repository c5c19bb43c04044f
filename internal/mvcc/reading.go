package mvcc

import (
	"io"

	"cairn/internal/kv"
)

// Cursor walks the raw keys of one table, in order. storage.Iter and storage.BatchIter implement
// it. It must be closed.
type Cursor = cursor

// Reading is the key space as of one revision, for layers that read more than ranges: v2tree walks
// it node by node. One goroutine at a time may use a Reading of a Store, and not for long; the
// Reading of a Writer is valid until the open command's next change.
//
// Tables other than c are read as they are now, which for the Reading of a Store may be later than
// Revision.
type Reading struct {
	v     view
	mixed bool
	head  *Head // set for a Reading of a Store
}

// Reading returns the published state.
func (s *Store) Reading() Reading {
	head := s.stableHead()
	return Reading{view{src: s, rev: head.Revision, loading: head.Loading}, head.Mixed, head}
}

// ReadingAt returns the state as of a published revision; 0 means the current one. It returns
// ErrCompacted and ErrFutureRevision for revisions that cannot be read.
func (s *Store) ReadingAt(revision int64) (Reading, error) {
	head := s.stableHead()
	rev, err := readRevision(revision, head.Revision, head.CompactRevision)
	if err != nil {
		return Reading{}, err
	}
	return Reading{view{src: s, rev: rev, loading: head.Loading}, head.Mixed, head}, nil
}

// Reading returns the state that the open command sees.
func (w *Writer) Reading() Reading {
	return Reading{view{src: w, rev: w.Revision()}, w.head.Mixed, nil}
}

// Limited returns the reading with walks that limit can stop, see Pauser and PauserAt.
func (r Reading) Limited(limit Pauser) Reading {
	r.v.pause, r.v.pauseAt = limit.Pause, nil
	if at, ok := limit.(PauserAt); ok {
		r.v.pauseAt = at.PauseAt
	}
	return r
}

// Mixed returns the head's Mixed.
func (r Reading) Mixed() bool { return r.mixed }

// Revision returns the main revision that keys are read at.
func (r Reading) Revision() int64 { return r.v.rev }

// Get returns the live record of a key. The caller owns the value.
func (r Reading) Get(key []byte) (rec kv.Record, ok bool, err error) {
	err = r.v.get(key, func(found *kv.Record) {
		rec, ok = *found, true
		rec.Value = append(make([]byte, 0, len(found.Value)), found.Value...)
	})
	return rec, ok, err
}

// Walk visits the live keys of [start, end), in order; end nil means no end. Key and record are
// valid during the call. visit returns false to stop; when it returns a seek key, the walk
// continues at the first key at or after that.
func (r Reading) Walk(start, end []byte, visit func(key []byte, rec *kv.Record) (seek []byte, ok bool)) error {
	rng := kv.KeyRange{Key: start, End: end}
	if end == nil {
		rng.End = []byte{0}
	}
	lower, upper := currentBounds(rng)
	return r.v.walkSeek(lower, upper, visit)
}

// Count returns the number of live keys of [start, end); end nil means no end. At the present
// revision it costs the same for ranges of all sizes (the count index); at an older one it reads
// the changes since, or the range. The reading must be one of a Store.
func (r Reading) Count(start, end []byte) (int64, error) {
	if r.v.loading {
		return 0, ErrLoading
	}
	rng := kv.KeyRange{Key: start, End: end}
	if end == nil {
		rng.End = []byte{0}
	}
	lower, upper := currentBounds(rng)
	return r.v.src.(*Store).count(r.head, r.v, lower, upper)
}

// CountAtMost returns a number that is not smaller than that of the live keys in a range, without
// reading them: it also counts the keys outside of the range that share a block of the count index
// with its ends. It is that of the head, also for a reading at an older revision; 0 while the store
// is being replaced. The reading must be one of a Store.
func (r Reading) CountAtMost(keys kv.KeyRange) int64 {
	switch {
	case keys.SingleKey():
		return 1
	case r.v.loading, keys.Empty():
		return 0
	}
	lower, upper := currentBounds(keys)
	return r.head.counts.atMost(lower[1:], userBound(upper))
}

// Overtaken reports whether a compaction has passed the reading's revision. Then keys that were
// deleted since may be missing from earlier results, later reads fail with ErrOvertaken, and the
// caller needs a newer Reading.
func (r Reading) Overtaken() bool { return r.v.src.overtaken(r.v.rev) != nil }

// AwaitNewer waits until a Reading newer than this overtaken one can be read. An error means that
// history is missing without a compaction: the store is damaged.
func (r Reading) AwaitNewer() error {
	s, ok := r.v.src.(*Store)
	if !ok {
		return nil // a compaction cannot overtake the writer
	}
	return s.awaitNext(r.head)
}

// Lend returns the value of a raw key of another table (see storage.Table) without a copy, or
// storage.ErrNotFound. When the closer is not nil the caller must close it, and the bytes are valid
// until then.
func (r Reading) Lend(key []byte) ([]byte, io.Closer, error) { return r.v.src.lend(key) }

// Cursor walks the raw keys of [lower, upper) of another table.
func (r Reading) Cursor(lower, upper []byte) Cursor { return r.v.src.cursor(lower, upper) }
