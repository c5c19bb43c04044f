package storage

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"sort"

	"github.com/cockroachdb/pebble/v2"
)

// Batch gathers writes that become visible, and durable, together. It reads
// its own writes: Lend and Iter show the store with what Set and Delete
// have changed so far. Append and DeleteRange are for what nobody reads back
// before the commit, and cost nothing but their bytes.
//
// A key that is Set many times in a batch reaches the store once, with its last
// value; a busy key costs one write however many commands of a batch change it.
//
// Commit may be followed by Reset and further use. Not safe for concurrent use.
type Batch struct {
	store *Store
	out   *pebble.Batch
	// pending holds what Set and Delete changed, by key.
	pending map[string]change
	// sorted has pending's keys in order, from the first Iter on: before it
	// nobody pays for the order.
	sorted  []string
	ordered bool
	journal []undo
	marked  bool
	keyBuf  []byte
}

// change is the newest state of a key in the batch.
type change struct {
	value   []byte
	deleted bool
}

// undo restores a key's state of before the mark.
type undo struct {
	key string
	old change
	had bool
}

// NewBatch returns an empty batch.
func (s *Store) NewBatch() *Batch {
	return &Batch{store: s, out: s.db.NewBatch(), pending: make(map[string]change)}
}

// Set gives key a value. The value is kept, not copied, until Commit or Reset.
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
		at, _ := slices.BinarySearch(b.sorted, k)
		b.sorted = slices.Insert(b.sorted, at, k)
	}
}

// Append writes a key that this batch does not read back. Both slices are copied.
func (b *Batch) Append(key, value []byte) error { return b.out.Set(key, value, nil) }

// DeleteRange removes the keys in [start, end) that the store held before, and
// those that Append has written so far. Set and Delete of this batch are not
// touched, nor does this batch read the gap.
func (b *Batch) DeleteRange(start, end []byte) error { return b.out.DeleteRange(start, end, nil) }

// Remove deletes a key that this batch does not read back.
func (b *Batch) Remove(key []byte) error { return b.out.Delete(key, nil) }

// Mark opens a span of changes that Rollback can undo. There is one at a time.
// Append, DeleteRange and Remove must not be called inside it.
func (b *Batch) Mark() { b.marked, b.journal = true, b.journal[:0] }

// Release closes the span and keeps its changes.
func (b *Batch) Release() { b.marked = false }

// Rollback closes the span and undoes its changes.
func (b *Batch) Rollback() {
	for i := len(b.journal) - 1; i >= 0; i-- {
		u := b.journal[i]
		if u.had {
			b.pending[u.key] = u.old
			continue
		}
		delete(b.pending, u.key)
		if b.ordered {
			if at, found := slices.BinarySearch(b.sorted, u.key); found {
				b.sorted = slices.Delete(b.sorted, at, at+1)
			}
		}
	}
	b.marked = false
}

// Lend returns the value of key as the batch sees it, without a copy. When the
// closer is not nil the caller must close it, and the bytes are valid until then;
// otherwise they are valid until Commit. It returns ErrNotFound when there is none.
func (b *Batch) Lend(key []byte) ([]byte, io.Closer, error) {
	if c, ok := b.pending[string(key)]; ok {
		if c.deleted {
			return nil, nil, ErrNotFound
		}
		return c.value, nil, nil
	}
	return b.store.db.Get(key)
}

// Changed says whether Set or Delete has touched key.
func (b *Batch) Changed(key []byte) bool {
	_, ok := b.pending[string(key)]
	return ok
}

// Commit makes the batch visible. With sync it is durable when Commit returns,
// on a store that has a WAL.
func (b *Batch) Commit(sync bool) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case fatal:
			err = fmt.Errorf("commit batch: %w", r)
		default:
			panic(r)
		}
	}()
	b.order() // the memtable takes keys in order at half the price
	for _, k := range b.sorted {
		c := b.pending[k]
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
	opts := pebble.NoSync
	if sync && b.store.wal {
		opts = pebble.Sync
	}
	if err := b.out.Commit(opts); err != nil {
		return fmt.Errorf("commit batch: %w", err)
	}
	return nil
}

// Bytes returns the size of what Append has gathered so far.
func (b *Batch) Bytes() int { return b.out.Len() }

// Reset empties the batch for further use, whether it was committed or not.
func (b *Batch) Reset() {
	b.out.Reset()
	clear(b.pending)
	b.sorted, b.ordered = b.sorted[:0], false
	b.journal, b.marked = b.journal[:0], false
}

// Close gives the batch's memory back. The batch must not be used again.
func (b *Batch) Close() error { return b.out.Close() }

// BatchIter walks the keys that a batch sees, in order. The batch must not
// change while it is open. Key and Value are valid until the next move.
type BatchIter struct {
	batch        *Batch
	under        *Iter
	lower, upper []byte
	at           int // in batch.sorted
	end          int
	underOK      bool
	fromBatch    bool
}

// order brings the keys of pending in order.
func (b *Batch) order() {
	if b.ordered {
		return
	}
	b.sorted = b.sorted[:0]
	for k := range b.pending {
		b.sorted = append(b.sorted, k)
	}
	slices.Sort(b.sorted)
	b.ordered = true
}

// Iter returns an iterator over what the batch sees of [lower, upper).
func (b *Batch) Iter(lower, upper []byte) *BatchIter {
	b.order()
	it := &BatchIter{batch: b, under: b.store.NewIter(lower, upper), lower: lower, upper: upper, end: len(b.sorted)}
	if upper != nil {
		it.end = sort.SearchStrings(b.sorted, string(upper))
	}
	return it
}

// SeekGE moves to the first key at or after key, and says whether there is one.
func (i *BatchIter) SeekGE(key []byte) bool {
	if bytes.Compare(key, i.lower) < 0 {
		key = i.lower
	}
	i.at = sort.SearchStrings(i.batch.sorted, string(key))
	i.underOK = i.under.SeekGE(key)
	return i.settle()
}

// First moves to the first key, and says whether there is one.
func (i *BatchIter) First() bool { return i.SeekGE(i.lower) }

// Next moves to the next key, and says whether there is one.
func (i *BatchIter) Next() bool {
	if i.fromBatch {
		i.at++
	} else {
		i.underOK = i.under.Next()
	}
	return i.settle()
}

// settle finds the present key: the lower of the two sides, where the batch
// hides the store's version of the same key, and its deletions hide themselves.
func (i *BatchIter) settle() bool {
	for {
		inBatch := i.at < i.end
		if !inBatch {
			i.fromBatch = false
			return i.underOK
		}
		order := -1
		if i.underOK {
			order = bytes.Compare([]byte(i.batch.sorted[i.at]), i.under.Key())
		}
		switch {
		case order > 0:
			i.fromBatch = false
			return true
		case order == 0:
			i.underOK = i.under.Next()
		}
		if !i.batch.pending[i.batch.sorted[i.at]].deleted {
			i.fromBatch = true
			return true
		}
		i.at++
	}
}

// Key returns the present key.
func (i *BatchIter) Key() []byte {
	if i.fromBatch {
		return []byte(i.batch.sorted[i.at])
	}
	return i.under.Key()
}

// Value returns the present value.
func (i *BatchIter) Value() []byte {
	if i.fromBatch {
		return i.batch.pending[i.batch.sorted[i.at]].value
	}
	return i.under.Value()
}

// Err returns the first error that the iterator has met in the store, see Iter.Err.
func (i *BatchIter) Err() error { return i.under.Err() }

// Close ends the iterator and returns the first error that it met.
func (i *BatchIter) Close() error { return i.under.Close() }
