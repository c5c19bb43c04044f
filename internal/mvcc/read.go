package mvcc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"

	"cairn/internal/kv"
	"cairn/internal/storage"
)

// Sink takes the keys of a range in the order of the answer. Key and record
// are lent: they are valid during the call only.
type Sink interface {
	// Add takes a key, and says whether it takes more.
	Add(key []byte, r *kv.Record) bool
	// Reset forgets all keys: the read starts over, because a compaction has
	// overtaken it.
	Reset()
}

// RangeSummary is what a range has besides its keys.
type RangeSummary struct {
	Revision int64 // of the store that answered, not of the read
	Count    int64 // keys in the range, without regard to limit and bounds
	More     bool  // the limit left keys out
}

// Range reads at the present revision, or at op.Revision, and gives the keys to
// sink. It never waits for writers. It returns ErrCompacted and
// ErrFutureRevision for revisions that cannot be read.
func (s *Store) Range(op *RangeOp, sink Sink) (RangeSummary, error) {
	for tries := 0; ; tries++ {
		head, replacements := s.settled(), s.replacements.Load()
		sum, err := s.RangeAt(head, op, sink)
		switch {
		case !errors.Is(err, ErrOvertaken):
			return sum, err
		case op.Revision > 0 && s.replacing.Load() == nil && s.replacements.Load() == replacements:
			return RangeSummary{}, ErrCompacted
		}
		if err := s.awaitNext(head, tries); err != nil {
			return RangeSummary{}, err
		}
		sink.Reset()
	}
}

// ErrOvertaken says that history which a read needs has been compacted since the
// read's revision was the present one. A newer Head or Reading can be read.
var ErrOvertaken = errors.New("read overtaken by a compaction")

// awaitNext returns when a read that was overtaken can begin again: when there is a
// newer head than the one that it read. The compaction is in the store, so that head
// is about to be published, if it is not yet.
func (s *Store) awaitNext(head *Head, tries int) error {
	if r := s.replacing.Load(); r != nil {
		<-r.done
		return nil
	}
	if s.head.Load() != head {
		return nil
	}
	if tries > overtakenTriesMax {
		return fmt.Errorf("%w: history after revision %d is missing, though it was not compacted", ErrCorrupt, head.CompactRevision)
	}
	runtime.Gosched()
	return nil
}

// overtakenTriesMax is about a second: enough for a writer that was put aside between
// commit and publication; after it the store must be damaged.
const overtakenTriesMax = 10_000_000

// RangeAt is Range as of an earlier published head, so that several reads can
// be of one state. It returns ErrOvertaken when that cannot be read any more.
func (s *Store) RangeAt(head *Head, op *RangeOp, sink Sink) (RangeSummary, error) {
	rev, err := readRevision(op.Revision, head.Revision, head.CompactRevision)
	if err != nil {
		return RangeSummary{}, err
	}
	v := view{src: s, rev: rev}
	sum, err := v.run(op, sink, func(lower, upper []byte) (int64, error) {
		return s.count(head, v, lower, upper)
	})
	sum.Revision = head.Revision
	return sum, err
}

// readRevision resolves the revision that a request names.
func readRevision(asked, present, compacted int64) (int64, error) {
	switch {
	case asked <= 0:
		return present, nil
	case asked > present:
		return 0, ErrFutureRevision
	case asked < compacted:
		return 0, ErrCompacted
	default:
		return asked, nil
	}
}

// cursor is what storage.Iter and storage.BatchIter have in common.
type cursor interface {
	First() bool
	Next() bool
	SeekGE(key []byte) bool
	Key() []byte
	Value() []byte
	Err() error
	Close() error
}

// source is where records and events are read: the published store, or the
// store with the writes of an open batch.
type source interface {
	lend(key []byte) ([]byte, io.Closer, error)
	cursor(lower, upper []byte) cursor
	// event reads the event of a revision, or returns ErrOvertaken.
	event(rev kv.Revision) (event, error)
	// overtaken returns ErrOvertaken when a compaction has passed the revision.
	overtaken(rev int64) error
}

func (s *Store) lend(key []byte) ([]byte, io.Closer, error) { return s.db.Lend(key) }

func (s *Store) cursor(lower, upper []byte) cursor { return s.db.NewIter(lower, upper) }

func (s *Store) event(rev kv.Revision) (event, error) {
	b, err := s.db.Get(eventKey(nil, rev), nil)
	if errors.Is(err, storage.ErrNotFound) {
		return event{}, ErrOvertaken
	}
	if err != nil {
		return event{}, fmt.Errorf("read event %v: %w", rev, err)
	}
	return decodeEvent(rev, b)
}

func (s *Store) overtaken(rev int64) error {
	// In this order: a replacement is over only after its head is published.
	if s.replacing.Load() != nil || s.head.Load().CompactRevision > rev {
		return ErrOvertaken
	}
	return nil
}

// view reads a source as of a revision.
type view struct {
	src source
	rev int64
}

// asOf returns the version of a key at the view's revision, given its newest
// one in table c. It follows the key's events back (see chain) to the oldest one
// after the revision: that one names what it replaced.
func (v view) asOf(newest *kv.Record, read func(kv.Revision) (event, error)) (kv.Record, error) {
	if newest.Mod.Main <= v.rev {
		return *newest, nil
	}
	at := newest.Mod
	for {
		e, err := read(at)
		switch {
		case err != nil:
			return kv.Record{}, err
		case e.jump.Main > v.rev:
			at = e.jump
		case e.Prev.Mod.Main > v.rev:
			at = e.Prev.Mod
		case e.Prev.Mod.IsZero():
			return kv.Record{Deleted: true}, nil
		case e.PrevGone:
			return kv.Record{}, ErrOvertaken
		default:
			return e.Prev, nil
		}
	}
}

// get reads one key, and gives it to found when it is live.
func (v view) get(key []byte, found func(r *kv.Record)) error {
	b, closer, err := v.src.lend(currentKey(make([]byte, 0, 64), key))
	if errors.Is(err, storage.ErrNotFound) {
		return v.src.overtaken(v.rev) // by a sweep of its tombstone
	}
	if err != nil {
		return fmt.Errorf("read key: %w", err)
	}
	if closer != nil {
		defer closer.Close() //nolint:errcheck // read only: nothing to lose
	}
	newest, err := decodeRecord(b)
	if err != nil {
		return err
	}
	r, err := v.asOf(&newest, v.src.event)
	if err == nil && r.Deleted {
		// Perhaps by a delete that a compaction has passed, before the key came again.
		return v.src.overtaken(v.rev)
	}
	if err == nil {
		found(&r)
	}
	return err
}

// walk gives the live keys of [lower, upper), both of table c, to live in order,
// until it returns false.
func (v view) walk(lower, upper []byte, live func(key []byte, r *kv.Record) bool) error {
	return v.walkSeek(lower, upper, func(key []byte, r *kv.Record) (seek []byte, ok bool) {
		return nil, live(key, r)
	})
}

// walkSeek is walk for those who pass over keys: where live returns a user key, the
// walk goes on at the first key at or after that.
func (v view) walkSeek(lower, upper []byte, live func(key []byte, r *kv.Record) (seek []byte, ok bool)) error {
	w := walk{view: v, it: v.src.cursor(lower, upper)}
	// The cursor is one consistent view: what no compaction had passed when it was
	// opened none will.
	err := v.src.overtaken(v.rev)
	if err == nil {
		err = w.run(live)
	}
	return w.close(err)
}

// walk is one walk over table c. It reads events from the same consistent view as keys.
type walk struct {
	view
	it   cursor
	past *storage.Iter // over table r, once it was needed
}

func (w *walk) run(live func(key []byte, r *kv.Record) (seek []byte, ok bool)) error {
	for more := w.it.First(); more; {
		newest, err := decodeRecord(w.it.Value())
		if err != nil {
			return err
		}
		r, err := w.asOf(&newest, w.event)
		if err != nil {
			return err
		}
		var seek []byte
		if !r.Deleted {
			var ok bool
			if seek, ok = live(w.it.Key()[1:], &r); !ok {
				return nil
			}
		}
		if seek != nil {
			more = w.it.SeekGE(currentKey(nil, seek))
		} else {
			more = w.it.Next()
		}
	}
	return nil
}

// event reads an event as the walk's cursor sees the store. That of a batch sees the
// events that the batch has not written yet only through its writer.
func (w *walk) event(rev kv.Revision) (event, error) {
	it, ok := w.it.(*storage.Iter)
	if !ok {
		return w.src.event(rev)
	}
	if w.past == nil {
		w.past = it.Clone([]byte{byte(storage.TableRevisions)}, []byte{byte(storage.TableRevisions) + 1})
	}
	key := eventKey(make([]byte, 0, 13), rev)
	if !w.past.SeekGE(key) || !bytes.Equal(w.past.Key(), key) {
		if err := w.past.Err(); err != nil {
			return event{}, fmt.Errorf("read event %v: %w", rev, err)
		}
		return event{}, ErrOvertaken
	}
	return decodeEvent(rev, w.past.Value())
}

// close ends the walk. What kept it from reading goes before what it made of that.
func (w *walk) close(err error) error {
	if rerr := w.it.Err(); rerr != nil {
		err = fmt.Errorf("read keys: %w", rerr)
	}
	if w.past != nil {
		err = errors.Join(err, w.past.Close())
	}
	if cerr := w.it.Close(); err == nil {
		err = cerr
	}
	return err
}

// walkCount counts the live keys of [lower, upper), both of table c.
func (v view) walkCount(lower, upper []byte) (n int64, err error) {
	err = v.walk(lower, upper, func([]byte, *kv.Record) bool {
		n++
		return true
	})
	return n, err
}

// run executes a range; when sink wants no more, the count is of what it has seen.
// count is asked for the number of live keys in bounds of
// table c, when the walk itself does not tell.
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
	case op.Bounded() || op.Order != SortNone:
		return v.runSorted(op, lower, upper, op.Order, 0, sink, count)
	case op.Target != SortByKey:
		// etcd takes one key more than the limit, sorts these, and drops the last:
		// which keys are left depends on that one.
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

// runSorted gathers the admitted keys, the first cut of them when cut is not 0,
// and gives them to sink in order.
func (v view) runSorted(op *RangeOp, lower, upper []byte, order SortOrder, cut int64, sink Sink,
	count func(lower, upper []byte) (int64, error),
) (sum RangeSummary, err error) {
	var keys Collector
	keys.KeysOnly = op.KeysOnly && op.Target != SortByValue
	seen, cutShort := int64(0), false
	err = v.walk(lower, upper, func(key []byte, r *kv.Record) bool {
		if cut > 0 && seen == cut {
			cutShort = true
			return false
		}
		seen++
		if op.admits(r) {
			keys.Add(key, r)
		}
		return true
	})
	sum.Count = seen
	if err == nil && cutShort {
		sum.More = true
		sum.Count, err = count(lower, upper)
	}
	if err != nil {
		return sum, err
	}
	if op.Target != SortByKey || order == SortDescend {
		slices.SortStableFunc(keys.Keys, func(a, b KeyRecord) int {
			c := compareBy(op.Target, &a, &b)
			if order == SortDescend {
				c = -c
			}
			return c
		})
	}
	for i := range keys.Keys {
		if op.Limit > 0 && int64(i) == op.Limit {
			sum.More = true
			break
		}
		if !sink.Add(keys.Keys[i].Key, &keys.Keys[i].Record) {
			break
		}
	}
	return sum, nil
}

// Bounded says whether the range drops keys by their revisions.
func (op *RangeOp) Bounded() bool {
	return op.MinMod != 0 || op.MaxMod != 0 || op.MinCreate != 0 || op.MaxCreate != 0
}

// admits says whether a version is within the bounds.
func (op *RangeOp) admits(r *kv.Record) bool {
	return (op.MinMod == 0 || r.Mod.Main >= op.MinMod) && (op.MaxMod == 0 || r.Mod.Main <= op.MaxMod) &&
		(op.MinCreate == 0 || r.CreateRevision >= op.MinCreate) && (op.MaxCreate == 0 || r.CreateRevision <= op.MaxCreate)
}

func compareBy(target SortTarget, a, b *KeyRecord) int {
	number := func(x, y int64) int {
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		default:
			return 0
		}
	}
	switch target {
	case SortByVersion:
		return number(a.Version, b.Version)
	case SortByCreate:
		return number(a.CreateRevision, b.CreateRevision)
	case SortByMod:
		return number(a.Mod.Main, b.Mod.Main)
	case SortByValue:
		return bytes.Compare(a.Value, b.Value)
	default:
		return bytes.Compare(a.Key, b.Key)
	}
}

// Collector is a Sink that keeps copies.
type Collector struct {
	KeysOnly bool // leave the values out
	Keys     []KeyRecord
}

// Add keeps a copy of a key.
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

// Reset forgets all keys.
func (c *Collector) Reset() { c.Keys = c.Keys[:0] }

// count returns the live keys of [lower, upper), both of table c, at the view's
// revision.
func (s *Store) count(head *Head, v view, lower, upper []byte) (int64, error) {
	present := view{src: s, rev: head.Revision}
	n, err := indexCount(head.counts, present, lower, upper)
	since := head.Revision - v.rev
	if err != nil || since == 0 {
		return n, err
	}
	// The count of an older revision is today's, less the creates and plus the
	// deletes since; unless those are more than the keys themselves.
	if since > n/2 {
		return v.walkCount(lower, upper)
	}
	first := eventKey(nil, kv.Revision{Main: v.rev + 1})
	it := s.db.NewIter(first, eventKey(nil, kv.Revision{Main: head.Revision + 1}))
	if !it.First() || !bytes.Equal(it.Key(), first) {
		// Every revision has an event: a compaction, perhaps one that is not
		// published yet, has taken these.
		err := it.Err()
		if err == nil {
			err = ErrOvertaken
		}
		return 0, errors.Join(err, it.Close())
	}
	for ok := true; ok; ok = it.Next() {
		rev, err := parseEventKey(it.Key())
		if err != nil {
			return 0, errors.Join(err, it.Close())
		}
		e, err := decodeEvent(rev, it.Value())
		if err != nil {
			return 0, errors.Join(err, it.Close())
		}
		if inRange(e.Key, lower[1:], userBound(upper)) {
			n -= e.keysDelta()
		}
	}
	return n, it.Close()
}

// indexCount counts by the count index, of which present must be in step.
func indexCount(c *counts, present view, lower, upper []byte) (int64, error) {
	n, left, right, whole := c.span(lower[1:], userBound(upper))
	if !whole {
		return present.walkCount(lower, upper)
	}
	if !bytes.Equal(left, lower[1:]) {
		edge, err := present.walkCount(lower, currentKey(nil, left))
		if err != nil {
			return 0, err
		}
		n += edge
	}
	if right != nil {
		edge, err := present.walkCount(currentKey(nil, right), upper)
		if err != nil {
			return 0, err
		}
		n += edge
	}
	return n, nil
}

// userBound turns an upper bound of table c into one of user keys; nil is none.
func userBound(upper []byte) []byte {
	if len(upper) == 1 {
		return nil
	}
	return upper[1:]
}

// keysDelta says by how much the event changed the number of live keys.
func (e *event) keysDelta() int64 {
	existed := !e.Prev.Mod.IsZero() && !e.Prev.Deleted
	switch {
	case e.Dir:
		return 0
	case e.Type == kv.EventPut && !existed:
		return 1
	case e.Type == kv.EventDelete && existed:
		return -1
	default:
		return 0
	}
}
