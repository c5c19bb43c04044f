package mvcc

import (
	"bytes"
	"errors"
	"fmt"

	"cairn/internal/kv"
)

// Sink receives the keys of a range in the order of the result. Key and record are valid during the
// call only.
type Sink interface {
	// Add receives a key, and reports whether the sink accepts more.
	Add(key []byte, r *kv.Record) bool
	// Reset discards all keys: the read starts over, because a compaction has overtaken it.
	Reset()
}

// Gatherer is implemented by a Sink that limits the memory of a range that must be sorted.
type Gatherer interface {
	// Gather is called for each record that is collected for sorting, with its size in memory, and
	// reports whether the read may continue. If not, the read ends without calling Add.
	Gather(bytes int) bool
}

// RangeSummary is the result of a range without its keys.
type RangeSummary struct {
	// the store's revision at the time of the read, not the revision that was read at
	Revision int64
	Count    int64 // number of keys in the range, regardless of limit and bounds
	More     bool  // the limit excluded some keys
}

// Range reads at the current revision, or at op.Revision, and passes the keys to sink. It never
// waits for writers. It returns ErrCompacted and ErrFutureRevision for revisions that cannot be
// read.
func (s *Store) Range(op *RangeOp, sink Sink) (RangeSummary, error) {
	for {
		head, replacements := s.stableHead(), s.replacements.Load()
		sum, err := s.RangeAt(head, op, sink)
		switch {
		case !errors.Is(err, ErrOvertaken):
			return sum, err
		case op.Revision > 0 && s.replacing.Load() == nil && s.replacements.Load() == replacements:
			return RangeSummary{}, ErrCompacted
		}
		sink.Reset()
		if err := s.awaitNext(head); err != nil {
			return RangeSummary{}, err
		}
	}
}

// ErrOvertaken is returned when history that a read needs has been compacted since the read's
// revision was the current one. The caller may retry with a newer Head or Reading.
var ErrOvertaken = errors.New("read overtaken by a compaction")

// awaitNext waits until a head newer than the given one, whose reads were overtaken, is published.
// The overtaking compaction is in the store, so the writer is between Finish and Publish, or has
// published. If there is no newer head after that, the store is damaged.
func (s *Store) awaitNext(head *Head) error {
	if r := s.replacing.Load(); r != nil {
		<-r.done
		return nil
	}
	s.committing.Lock() // the writer holds it from Finish to Publish
	newer := s.head.Load() != head
	s.committing.Unlock()
	if !newer && s.replacing.Load() == nil {
		return fmt.Errorf("%w: history after revision %d is missing, though it was not compacted", ErrCorrupt, head.CompactRevision)
	}
	return nil
}

// RangeAt is Range at an earlier published head, so that several reads can see one state. It
// returns ErrOvertaken when that head is no longer readable.
func (s *Store) RangeAt(head *Head, op *RangeOp, sink Sink) (RangeSummary, error) {
	rev, err := readRevision(op.Revision, head.Revision, head.CompactRevision)
	if err != nil {
		return RangeSummary{}, err
	}
	if head.Loading {
		return RangeSummary{}, ErrLoading
	}
	v := view{src: s, rev: rev, pause: pauseOf(sink)}
	sum, err := v.run(op, sink, func(lower, upper []byte) (int64, error) {
		return s.count(head, v, lower, upper)
	})
	sum.Revision = head.Revision
	return sum, err
}

// readRevision resolves the revision that a request names.
func readRevision(requested, present, compacted int64) (int64, error) {
	switch {
	case requested <= 0:
		return present, nil
	case requested > present:
		return 0, ErrFutureRevision
	case requested < compacted:
		return 0, ErrCompacted
	default:
		return requested, nil
	}
}

// run executes a range. When sink accepts no more keys, the count is of the keys seen. run calls
// count for the number of live keys in bounds of table c, when the walk itself does not yield it.
func (v view) run(op *RangeOp, sink Sink, count func(lower, upper []byte) (int64, error)) (sum RangeSummary, err error) {
	switch {
	case op.Empty():
		return sum, nil
	case op.SingleKey():
		err = v.get(op.Key, func(r *kv.Record) {
			sum.Count = 1
			if !op.CountOnly && op.admits(r) {
				sink.Add(op.Key, r)
			}
		})
		return sum, err
	}
	lower, upper := currentBounds(op.KeyRange)
	switch {
	case op.CountOnly:
		sum.Count, err = count(lower, upper)
		return sum, err
	case op.InKeyOrder():
		// Handled below.
	case op.Bounded() || op.Order != SortNone:
		return v.runSorted(op, lower, upper, op.Order, 0, sink, count)
	default:
		// etcd reads one key more than the limit, sorts these, and drops the last: the result
		// depends on that extra key.
		cut := op.Limit
		if cut > 0 {
			cut++
		}
		return v.runSorted(op, lower, upper, SortAscend, cut, sink, count)
	}
	n := int64(0)
	err = v.walk(lower, upper, func(key []byte, r *kv.Record) bool {
		if op.Limit > 0 && n == op.Limit {
			sum.More = true
			return false
		}
		n++
		return sink.Add(key, r)
	})
	sum.Count = n
	if err == nil && sum.More {
		sum.Count, err = count(lower, upper)
	}
	return sum, err
}

// InKeyOrder reports whether the answer is keys one after another from the range's first: none is
// left out, and their order needs no sorting, be it asked for or not.
func (op *RangeOp) InKeyOrder() bool {
	return !op.Bounded() && op.Order != SortDescend && op.Target == SortByKey
}

// Bounded reports whether the range excludes keys by their revisions.
func (op *RangeOp) Bounded() bool {
	return op.MinMod != 0 || op.MaxMod != 0 || op.MinCreate != 0 || op.MaxCreate != 0
}

// admits reports whether a version is within the bounds.
func (op *RangeOp) admits(r *kv.Record) bool {
	return (op.MinMod == 0 || r.Mod.Main >= op.MinMod) && (op.MaxMod == 0 || r.Mod.Main <= op.MaxMod) &&
		(op.MinCreate == 0 || r.CreateRevision >= op.MinCreate) && (op.MaxCreate == 0 || r.CreateRevision <= op.MaxCreate)
}

// Collector is a Sink that keeps copies.
type Collector struct {
	KeysOnly bool // leave the values out
	Keys     []KeyRecord
}

// Add copies a key.
func (c *Collector) Add(key []byte, r *kv.Record) bool {
	k := KeyRecord{Key: bytes.Clone(key), Record: *r}
	if c.KeysOnly {
		k.Value = nil
	} else {
		k.Value = bytes.Clone(r.Value)
	}
	c.Keys = append(c.Keys, k)
	return true
}

// Reset discards all keys.
func (c *Collector) Reset() { c.Keys = c.Keys[:0] }
