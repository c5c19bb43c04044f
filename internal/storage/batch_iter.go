package storage

import (
	"bytes"
	"sort"
)

// BatchIter walks the keys in a batch's view, in order. The batch must not change while it is open.
// Key and Value are valid until the next move.
type BatchIter struct {
	batch        *Batch
	under        *Iter
	lower, upper []byte
	at           int // index in batch.sorted
	end          int
	underOK      bool
	fromBatch    bool
}

// Iter returns an iterator over the batch's view of [lower, upper).
func (b *Batch) Iter(lower, upper []byte) *BatchIter {
	b.order()
	it := &BatchIter{batch: b, under: b.store.NewIter(lower, upper), lower: lower, upper: upper, end: len(b.sorted)}
	if upper != nil {
		it.end = sort.SearchStrings(b.sorted, string(upper))
	}
	return it
}

// SeekGE moves to the first key at or after key, and reports whether there is one.
func (i *BatchIter) SeekGE(key []byte) bool {
	if bytes.Compare(key, i.lower) < 0 {
		key = i.lower
	}
	i.at = sort.SearchStrings(i.batch.sorted, string(key))
	i.underOK = i.under.SeekGE(key)
	return i.findCurrent()
}

// First moves to the first key, and reports whether there is one.
func (i *BatchIter) First() bool { return i.SeekGE(i.lower) }

// Next moves to the next key, and reports whether there is one.
func (i *BatchIter) Next() bool {
	if i.fromBatch {
		i.at++
	} else {
		i.underOK = i.under.Next()
	}
	return i.findCurrent()
}

// findCurrent finds the current key: the lower of the two sides. The batch hides the store's
// version of the same key, and deleted keys are skipped.
func (i *BatchIter) findCurrent() bool {
	for {
		inBatch := i.at < i.end
		if !inBatch {
			i.fromBatch = false
			return i.underOK
		}
		k := i.batch.sorted[i.at]
		c, ok := i.batch.pending[k]
		if !ok {
			i.at++ // rolled back
			continue
		}
		order := -1
		if i.underOK {
			order = bytes.Compare([]byte(k), i.under.Key())
		}
		switch {
		case order > 0:
			i.fromBatch = false
			return true
		case order == 0:
			i.underOK = i.under.Next()
		}
		if !c.deleted {
			i.fromBatch = true
			return true
		}
		i.at++
	}
}

// Key returns the current key.
func (i *BatchIter) Key() []byte {
	if i.fromBatch {
		return []byte(i.batch.sorted[i.at])
	}
	return i.under.Key()
}

// Value returns the current value.
func (i *BatchIter) Value() []byte {
	if i.fromBatch {
		return i.batch.pending[i.batch.sorted[i.at]].value
	}
	return i.under.Value()
}

// Err returns the first error of the store, see Iter.Err.
func (i *BatchIter) Err() error { return i.under.Err() }

// Close ends the iterator and returns its first error.
func (i *BatchIter) Close() error { return i.under.Close() }
