package storage

import (
	"fmt"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// Batch collects writes that become visible, and durable, together. It reads its own writes: Lend
// and Iter show the store with the changes of Set and Delete so far. Append and DeleteRange are for
// data that is not read before the commit, and cost nothing but their bytes.
//
// A key that is Set many times in a batch is written to the store once, with its last value; a busy
// key costs one write regardless of the number of commands that change it.
//
// A batch can be used again after Commit and Reset. Not safe for concurrent use.
type Batch struct {
	store *Store
	out   *pebble.Batch
	// pending has the changes of Set and Delete, by key.
	pending map[string]change
	// sorted has pending's keys in order, from the first Iter on (ordered): before it, sorting
	// would cost time for nothing. Keys added since the last Iter are in tail, unsorted. Both may
	// have stale names, which Rollback has removed from pending; stale is an upper bound of their
	// number.
	sorted, tail []string
	ordered      bool
	stale        int
	journal      []undo
	// keep is the number of keys for which Reset keeps memory, and the number of stale names that
	// are not worth a sweep. grown is set when pending has had more: emptying or walking a map
	// costs its largest size.
	keep   int
	grown  bool
	marked bool
	keyBuf []byte
}

// change is the newest state of a key in the batch.
type change struct {
	value   []byte
	deleted bool
}

// undo restores a key's state before the mark.
type undo struct {
	key string
	old change
	had bool
}

// keptKeys is the number of keys for which a batch keeps memory, see Batch.keep.
const keptKeys = 1 << 16

// NewBatch returns an empty batch.
func (s *Store) NewBatch() *Batch {
	return &Batch{store: s, out: s.db.NewBatch(), pending: make(map[string]change), keep: keptKeys}
}

// Set sets the value of a key. It keeps the slice, without a copy, until Commit or Reset.
func (b *Batch) Set(key, value []byte) { b.put(key, change{value: value}) }

// Delete removes key.
func (b *Batch) Delete(key []byte) { b.put(key, change{deleted: true}) }

func (b *Batch) put(key []byte, c change) {
	old, had := b.pending[string(key)]
	k := string(key)
	if b.marked {
		b.journal = append(b.journal, undo{key: k, old: old, had: had})
	}
	b.pending[k] = c
	if !had && b.ordered {
		b.tail = append(b.tail, k)
	}
}

// Append writes a key that this batch does not read. Both slices are copied.
func (b *Batch) Append(key, value []byte) error {
	b.unmarked("Append")
	return b.out.Set(key, value, nil)
}

// DeleteRange removes the keys in [start, end) that the store had before, and those that Append has
// written so far. It does not affect Set and Delete of this batch, and reads of this batch do not
// see the deletion.
func (b *Batch) DeleteRange(start, end []byte) error {
	b.unmarked("DeleteRange")
	return b.out.DeleteRange(start, end, nil)
}

// Remove deletes a key that this batch does not read.
func (b *Batch) Remove(key []byte) error {
	b.unmarked("Remove")
	return b.out.Delete(key, nil)
}

// unmarked panics if a mark is set: a rollback to it could not undo the writes of op, so a failed
// command would have an effect.
func (b *Batch) unmarked(op string) {
	if b.marked {
		panic("storage: " + op + " between Mark and Release of a batch: Rollback could not undo it")
	}
}

// Mark opens a span of changes that Rollback can undo. There is one at a time.
// Append, DeleteRange and Remove panic inside it.
func (b *Batch) Mark() {
	clear(b.journal)
	b.marked, b.journal = true, b.journal[:0]
}

// Release closes the span and keeps its changes.
func (b *Batch) Release() { b.marked = false }

// Rollback closes the span and undoes its changes.
func (b *Batch) Rollback() {
	b.grown = b.grown || len(b.pending) > b.keep
	for i := len(b.journal) - 1; i >= 0; i-- {
		u := b.journal[i]
		if u.had {
			b.pending[u.key] = u.old
			continue
		}
		delete(b.pending, u.key)
		if b.ordered {
			b.stale++
		}
	}
	b.marked = false
	if b.stale > len(b.pending)+b.keep {
		b.sweep()
	}
}

// sweep drops the stale names.
func (b *Batch) sweep() {
	stale := func(k string) bool {
		_, ok := b.pending[k]
		return !ok
	}
	b.sorted = slices.DeleteFunc(b.sorted, stale)
	b.tail = slices.DeleteFunc(b.tail, stale)
	b.order() // a key that was set again is in both
	b.stale = 0
}

// order sorts the keys of pending.
func (b *Batch) order() {
	if b.ordered {
		b.sorted = merge(b.sorted, b.tail)
		clear(b.tail)
		b.tail = b.tail[:0]
		return
	}
	for k := range b.pending {
		b.sorted = append(b.sorted, k)
	}
	slices.Sort(b.sorted)
	b.ordered = true
}

// merge adds the keys of tail, unsorted, to the sorted ones. The keys between two of tail's are
// moved as one block, so that adding one key at a time costs no more than an insertion, and a
// hundred thousand no more than sorting them.
func merge(sorted, tail []string) []string {
	slices.Sort(tail)
	tail = slices.Compact(tail)
	tail = slices.DeleteFunc(tail, func(k string) bool {
		_, found := slices.BinarySearch(sorted, k)
		return found
	})
	rest := len(sorted) // sorted[:rest] is not moved yet
	sorted = append(sorted, tail...)
	for n := len(tail); n > 0; n-- {
		k := tail[n-1]
		at, _ := slices.BinarySearch(sorted[:rest], k)
		copy(sorted[at+n:], sorted[at:rest])
		sorted[at+n-1] = k
		rest = at
	}
	return sorted
}

// Lend returns the value of key as the batch sees it, without a copy, or ErrNotFound. When the
// closer is not nil the caller must close it, and the bytes are valid until then; otherwise they
// are valid until Commit.
func (b *Batch) Lend(key []byte) ([]byte, io.Closer, error) {
	if c, ok := b.pending[string(key)]; ok {
		if c.deleted {
			return nil, nil, ErrNotFound
		}
		return c.value, nil, nil
	}
	return b.store.Lend(key)
}

// Own returns the value of key when Set or Delete has changed it. The value is valid until Commit.
func (b *Batch) Own(key []byte) (value []byte, deleted, ok bool) {
	c, ok := b.pending[string(key)]
	return c.value, c.deleted, ok
}

// Commit makes the batch visible. On a log store with sync, it is durable when Commit returns.
func (b *Batch) Commit(sync bool) (err error) {
	defer fatalError(&err, "commit batch")
	b.order() // a memtable accepts sorted keys at half the cost
	for _, k := range b.sorted {
		c, ok := b.pending[k]
		if !ok {
			continue // rolled back
		}
		b.keyBuf = append(b.keyBuf[:0], k...)
		var err error
		if c.deleted {
			err = b.out.Delete(b.keyBuf, nil)
		} else {
			err = b.out.Set(b.keyBuf, c.value, nil)
		}
		if err != nil {
			return fmt.Errorf("build batch: %w", err)
		}
	}
	if j := b.store.journal; j != nil {
		err = j.commit(b.store, b.out, sync)
	} else if err = b.out.Commit(pebble.NoSync); err == nil && !b.out.Empty() {
		b.store.size.add(b.out)
	}
	if err != nil {
		return fmt.Errorf("commit batch: %w", err)
	}
	return nil
}

// Bytes returns the size of Append's writes so far.
func (b *Batch) Bytes() int { return b.out.Len() }

// Reset empties the batch for further use, whether it was committed or not.
func (b *Batch) Reset() {
	b.out.Reset()
	if b.grown || len(b.pending) > b.keep {
		b.pending, b.grown = make(map[string]change), false
	} else {
		clear(b.pending)
	}
	b.sorted, b.tail = emptied(b.sorted, b.keep), emptied(b.tail, b.keep)
	b.ordered, b.stale = false, 0
	b.journal, b.marked = emptied(b.journal, b.keep), false
}

// emptied returns s without elements, and with a capacity of at most keep.
func emptied[T any](s []T, keep int) []T {
	if cap(s) > keep {
		return nil
	}
	clear(s) // drops references to the old batch
	return s[:0]
}

// Close releases the batch's memory. The batch must not be used again.
func (b *Batch) Close() error { return b.out.Close() }
