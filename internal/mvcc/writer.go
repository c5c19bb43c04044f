package mvcc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"sort"

	"cairn/internal/invariant"
	"cairn/internal/kv"
	"cairn/internal/storage"
)

// Writer changes the key space, in batches of commands. A command increments the revision by one
// when it changed something or called Advance, and not at all when it changed nothing or was
// aborted.
//
//	w.Begin(batch)
//	for each command { w.Start(); w.Put(…) …; w.End() or w.Abort() }
//	w.Finish()
//	batch.Commit()
//	w.Publish()
//
// There is one Writer per Store; it belongs to the applier's goroutine.
type Writer struct {
	s      *Store
	b      *storage.Batch
	head   Head // as of the last ended command of this batch
	counts countsEdit
	// events has the changes of this batch; those of the open command start at first.
	events []event
	first  int
	// bytes is the size of the batch's events, commandBytes that of the open command's.
	bytes, commandBytes int64
	mem                 arena // the memory that results and events refer to
	// encoded nodes, which the batch refers to until it is committed
	nodes            scratch
	buf, key, cached []byte        // scratch space within one function
	path             []kv.Revision // scratch space for the path of a new chain
	oldPath          []kv.Revision // scratch space for the path of the chain that newest returns
	// swept is the revision below which SweepTombstones has removed all tombstones.
	swept kv.Revision
}

// NewWriter returns the writer of s.
func (s *Store) NewWriter() *Writer {
	return &Writer{
		s: s, path: make([]kv.Revision, 0, chainPathMax+1), oldPath: make([]kv.Revision, 0, chainPathMax),
	}
}

// LimitCache sets how many bytes the cache of recently used values may take. It is called before
// the first batch and the first read.
func (w *Writer) LimitCache(bytes int) { w.s.cache.limit(bytes) }

// Begin starts a batch, whose writes go to b. Key and value slices given to the
// batch's commands must stay unchanged until Publish.
func (w *Writer) Begin(b *storage.Batch) error {
	w.b = b
	w.head = *w.s.head.Load()
	w.counts.begin(w.head.counts)
	w.nodes.reset()
	clear(w.events)
	w.events, w.first, w.bytes = w.events[:0], 0, 0
	present := view{src: w.s, rev: w.head.Revision}
	return w.counts.divide(func(lower, upper []byte, live func([]byte)) error {
		bound := []byte{byte(storage.TableCurrent) + 1}
		if upper != nil {
			bound = currentKey(nil, upper)
		}
		return present.walk(currentKey(nil, lower), bound, func(key []byte, _ *kv.Record) bool {
			live(key)
			return true
		})
	})
}

// Start opens a command.
func (w *Writer) Start() {
	w.b.Mark()
	w.first, w.commandBytes = len(w.events), 0
}

// Advance makes the open command increment the revision although it changes no key. Every revision
// has an event, by which a reader distinguishes a compacted revision from a gap. The event is a
// refresh of v2's root, which no watcher receives.
func (w *Writer) Advance() {
	w.addDirectoryEvent(kv.EventPut, kv.ActionRefresh, []byte("/"), kv.Record{}, kv.Record{})
}

// Abort undoes the open command.
func (w *Writer) Abort() {
	w.b.Rollback()
	clear(w.events[w.first:])
	w.events = w.events[:w.first]
}

// End records the open command's changes in the batch.
func (w *Writer) End() error {
	w.b.Release()
	w.bytes += w.commandBytes
	if w.first == len(w.events) {
		return nil
	}
	w.head.Revision++
	for i := w.first; i < len(w.events); i++ {
		e := &w.events[i]
		w.buf = appendEvent(w.buf[:0], e)
		var key [13]byte
		if err := w.b.Append(eventKey(key[:0], e.Record.Mod), w.buf); err != nil {
			return fmt.Errorf("write event: %w", err)
		}
		if delta := e.keysDelta(); delta != 0 {
			w.counts.add(e.Key, delta)
		}
		if e.Type == kv.EventDelete && !e.Dir {
			if err := w.b.Append(tombstoneKey(key[:0], e.Record.Mod), e.Key); err != nil {
				return fmt.Errorf("write tombstone: %w", err)
			}
		}
	}
	w.first = len(w.events)
	return nil
}

// Finish completes the batch, which may then be committed.
func (w *Writer) Finish() (err error) {
	w.storeMixed()
	if w.head.counts, err = w.counts.store(w.b); err != nil {
		return err
	}
	w.s.committing.Lock()
	return nil
}

// Fail ends a batch whose commit failed after Finish. The writer must not be used afterwards.
func (w *Writer) Fail() { w.s.committing.Unlock() }

// Publish makes the committed batch visible to readers.
func (w *Writer) Publish() {
	for i := range w.events {
		if e := &w.events[i]; !e.Dir {
			w.s.cache.put(e.Key, e.node)
		}
	}
	if w.head.Loading || w.s.head.Load().Loading {
		w.s.cache.suspend(w.head.Loading) // Load changes table c without events
	}
	head := w.head
	w.s.head.Store(&head)
	w.s.committing.Unlock()
}

// Changed reports whether the open command has changed something.
func (w *Writer) Changed() bool { return len(w.events) > w.first }

// Revision returns the revision that a read of the open command sees: the next
// one when the command has changed something.
func (w *Writer) Revision() int64 {
	if w.Changed() {
		return w.head.Revision + 1
	}
	return w.head.Revision
}

// CompactRevision returns the oldest revision that can be read.
func (w *Writer) CompactRevision() int64 { return w.head.CompactRevision }

// nextRevision returns the revision of the open command's next change.
func (w *Writer) nextRevision() kv.Revision {
	return kv.Revision{Main: w.head.Revision + 1, Sub: int64(len(w.events) - w.first)}
}

// newest returns the value of table c for a key. ok is false when there is none, or a tombstone
// that the compaction has passed. The chain is valid until the next call.
func (w *Writer) newest(key []byte) (n node, ok bool, err error) {
	w.key = currentKey(w.key[:0], key)
	b, closer, err := w.lend(w.key)
	if errors.Is(err, storage.ErrNotFound) {
		return node{}, false, nil
	}
	if err != nil {
		return node{}, false, fmt.Errorf("read key: %w", err)
	}
	if n, err = decodeNodeInto(w.oldPath, b); err == nil {
		n.Value = w.mem.copy(n.Value) // events refer to it, and b will change
	}
	if closer != nil {
		err = errors.Join(err, closer.Close())
	}
	if n.Deleted && n.Mod.Main <= w.head.CompactRevision {
		return node{}, false, err
	}
	return n, err == nil, err
}

// Get returns the live record of a key as the open command sees it.
func (w *Writer) Get(key []byte) (r kv.Record, ok bool, err error) {
	n, ok, err := w.newest(key)
	return n.Record, ok && !n.Deleted, err
}

// Put writes a key. It returns ErrKeyNotFound when op keeps the value or the lease of a key that
// does not exist, and ErrLeaseNotFound when op.Lease does not exist.
func (w *Writer) Put(op *PutOp) (PutResult, error) {
	if op.Lease != 0 {
		if err := w.checkLease(op.Lease); err != nil {
			return PutResult{}, err
		}
	}
	old, ok, err := w.newest(op.Key)
	if err != nil {
		return PutResult{}, err
	}
	live := ok && !old.Deleted
	r := kv.Record{Mod: w.nextRevision(), Version: 1, Lease: op.Lease, Deadline: op.Deadline, Value: op.Value}
	r.CreateRevision = r.Mod.Main
	if live && !op.Recreate {
		r.CreateRevision, r.Version = old.CreateRevision, old.Version+1
	}
	if (op.IgnoreValue || op.IgnoreLease) && !live {
		return PutResult{}, ErrKeyNotFound
	}
	if op.IgnoreValue {
		r.Value = old.Value
	}
	if op.IgnoreLease {
		r.Lease = old.Lease
	}
	w.noteMixed(op)
	if err := w.record(kv.EventPut, op.Action, op.Key, r, &old); err != nil {
		return PutResult{}, err
	}
	res := PutResult{Revision: r.Mod.Main}
	if op.PrevKV && live {
		res.Prev = &KeyRecord{Key: op.Key, Record: old.Record}
	}
	return res, nil
}

// checkLease checks that a lease exists in table l.
func (w *Writer) checkLease(id kv.LeaseID) error {
	key := binary.BigEndian.AppendUint64([]byte{byte(storage.TableLeases)}, uint64(id))
	_, closer, err := w.b.Lend(key)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return ErrLeaseNotFound
	case err != nil:
		return fmt.Errorf("read lease %x: %w", int64(id), err)
	case closer != nil:
		return closer.Close()
	default:
		return nil
	}
}

// Delete removes the live keys of a range.
func (w *Writer) Delete(op *DeleteOp) (res DeleteResult, err error) {
	var keys [][]byte
	if op.SingleKey() {
		keys = [][]byte{op.Key}
	} else if !op.Empty() {
		lower, upper := currentBounds(op.KeyRange)
		err = view{src: w, rev: w.Revision()}.walk(lower, upper, func(key []byte, _ *kv.Record) bool {
			keys = append(keys, w.mem.copy(key))
			return true
		})
	}
	if err != nil {
		return res, err
	}
	for _, key := range keys {
		old, ok, err := w.newest(key)
		if err != nil {
			return res, err
		}
		if !ok || old.Deleted {
			continue
		}
		if err := w.record(kv.EventDelete, op.Action, key, kv.Record{Mod: w.nextRevision(), Deleted: true}, &old); err != nil {
			return res, err
		}
		res.Deleted++
		if op.PrevKV {
			res.Prev = append(res.Prev, KeyRecord{Key: key, Record: old.Record})
		}
	}
	res.Revision = w.Revision()
	return res, nil
}

// commandBytesMax limits what one command may change: the bytes of keys and values before and
// after, and of directories. They are in memory until the batch is committed. It must be the same
// on all members, so that they refuse the same commands.
const commandBytesMax = 512 << 20

// Bytes returns the size of the batch's changes so far, as commandBytesMax counts it.
func (w *Writer) Bytes() int64 { return w.bytes }

// record stores a change of a key whose newest record was old. It returns ErrTooLarge when the
// command's changes exceed commandBytesMax.
func (w *Writer) record(t kv.EventType, action kv.Action, key []byte, r kv.Record, old *node) error {
	if err := w.AddBytes(len(key) + len(r.Value) + len(old.Value)); err != nil {
		return err
	}
	n := node{Record: r}
	e := event{Event: kv.Event{Type: t, Action: action, Key: key, Record: r, Prev: old.Record}}
	n.chain, e.jump = old.chain.next(w.path[:0], old.Mod, w.head.CompactRevision)
	e.node = appendNode(w.nodes.reserve(len(r.Value)+64+10*len(n.chain.path)), &n)
	w.events = append(w.events, e)
	w.moveLease(key, old.Lease, r.Lease)
	w.key = currentKey(w.key[:0], key)
	w.b.Set(w.key, e.node)
	return nil
}

// Changes yields the changes of the open command so far, in order.
func (w *Writer) Changes() iter.Seq[*kv.Event] {
	return func(yield func(*kv.Event) bool) {
		for i := w.first; i < len(w.events); i++ {
			if !yield(&w.events[i].Event) {
				return
			}
		}
	}
}

// Batch returns the writer's batch, for tables of other packages that change with the keys.
func (w *Writer) Batch() *storage.Batch { return w.b }

// Range reads the keys as the open command sees them.
func (w *Writer) Range(op *RangeOp, sink Sink) (RangeSummary, error) {
	rev, err := readRevision(op.Revision, w.Revision(), w.head.CompactRevision)
	if err != nil {
		return RangeSummary{}, err
	}
	v := view{src: w, rev: rev}
	sum, err := v.run(op, sink, func(lower, upper []byte) (int64, error) {
		if rev != w.Revision() {
			return v.walkCount(lower, upper)
		}
		return w.count(v, lower, upper)
	})
	sum.Revision = w.Revision()
	return sum, err
}

// count is indexCount for a state in which the open command's changes are visible but not yet in
// the index.
func (w *Writer) count(v view, lower, upper []byte) (int64, error) {
	n, err := indexCount(&w.counts.counts, v, lower, upper)
	_, left, right, whole := w.counts.span(lower[1:], userBound(upper))
	if err != nil || !whole {
		return n, err
	}
	for i := w.first; i < len(w.events); i++ {
		if e := &w.events[i]; inRange(e.Key, left, right) {
			n += e.keysDelta()
		}
	}
	return n, nil
}

// lend finds the versions of the batch and cached ones without reading the store. The bytes are
// valid until the next call.
func (w *Writer) lend(key []byte) ([]byte, io.Closer, error) {
	value, deleted, changed := w.b.Own(key)
	switch {
	case deleted:
		return nil, nil, storage.ErrNotFound
	case changed:
		return value, nil, nil
	}
	if key[0] == byte(storage.TableCurrent) {
		var ok bool
		if w.cached, ok, _ = w.s.cache.get(w.cached[:0], key[1:]); ok {
			if invariant.Enabled {
				w.checkCached(key, w.cached)
			}
			return w.cached, nil, nil
		}
	}
	return w.s.db.Lend(key)
}

func (w *Writer) cursor(lower, upper []byte) cursor { return w.b.Iter(lower, upper) }

// overtaken returns nil: the writer itself compacts.
func (w *Writer) overtaken(int64) error { return nil }

// event finds an event of this batch in memory, and an older one in the store.
func (w *Writer) event(rev kv.Revision) (event, error) {
	if rev.Main <= w.s.head.Load().Revision {
		return w.s.event(rev)
	}
	i := sort.Search(len(w.events), func(i int) bool { return !w.events[i].Record.Mod.Less(rev) })
	if i == len(w.events) || w.events[i].Record.Mod != rev {
		return event{}, fmt.Errorf("%w: no event %v in the batch", ErrCorrupt, rev)
	}
	return w.events[i], nil
}
