package storage

import (
	"bytes"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Iter walks keys in order over one consistent view of a store. It must be
// closed. Key and Value are valid until the next move.
type Iter struct {
	it    *pebble.Iterator // nil when it could not be opened, and once closed
	store *Store
	err   error
}

// NewIter returns an iterator over [lower, upper); nil bounds are open. Its view is the store as of
// now, however long it is open.
func (s *Store) NewIter(lower, upper []byte) *Iter {
	if !s.readers.enter() {
		return &Iter{err: ErrClosed}
	}
	it, err := s.db.NewIter(within(lower, upper))
	return s.counted(it, err)
}

// Clone returns an iterator over [lower, upper) with the view of i, regardless of later commits.
// The two are closed separately, in any order. If i has an error, the clone has it, too.
func (i *Iter) Clone(lower, upper []byte) *Iter {
	if err := i.failure(); err != nil {
		return &Iter{err: err}
	}
	if !i.store.readers.enter() {
		return &Iter{err: ErrClosed}
	}
	it, err := i.it.Clone(pebble.CloneOptions{IterOptions: within(lower, upper)})
	return i.store.counted(it, err)
}

// within returns the options of an iterator over [lower, upper). Pebble requires ordered bounds: a
// reversed range becomes an empty one.
func within(lower, upper []byte) *pebble.IterOptions {
	if upper != nil && bytes.Compare(lower, upper) > 0 {
		lower = upper
	}
	return &pebble.IterOptions{LowerBound: lower, UpperBound: upper}
}

// counted returns the iterator of a read that was admitted.
func (s *Store) counted(it *pebble.Iterator, err error) *Iter {
	if err != nil {
		s.readers.leave()
		return &Iter{err: s.disk.checkRead(err)}
	}
	return &Iter{it: it, store: s}
}

// SeekGE moves to the first key at or after key, and reports whether there is one.
func (i *Iter) SeekGE(key []byte) bool { return i.err == nil && i.it.SeekGE(key) }

// First moves to the first key, and reports whether there is one.
func (i *Iter) First() bool { return i.err == nil && i.it.First() }

// Last moves to the last key, and reports whether there is one.
func (i *Iter) Last() bool { return i.err == nil && i.it.Last() }

// Next moves to the next key, and reports whether there is one.
func (i *Iter) Next() bool { return i.err == nil && i.it.Next() }

// Key returns the current key.
func (i *Iter) Key() []byte { return i.it.Key() }

// Value returns the current value. If it cannot be read, Value returns nil, Err the error, and the
// walk ends.
func (i *Iter) Value() []byte {
	v, err := i.it.ValueAndErr()
	if err != nil {
		if i.err == nil {
			i.err = i.store.disk.checkRead(err)
		}
		return nil
	}
	return v
}

// Err returns the iterator's first error. A walker calls it when it cannot decode a value, and at
// the end of the walk.
func (i *Iter) Err() error {
	if err := i.failure(); err != nil {
		return fmt.Errorf("read store: %w", err)
	}
	return nil
}

// failure is Err without the description.
func (i *Iter) failure() error {
	if i.err == nil && i.it != nil {
		return i.it.Error()
	}
	return i.err
}

// Close ends the iterator and returns its first error.
func (i *Iter) Close() error {
	if i.it != nil {
		err := i.it.Close()
		i.it = nil
		i.store.readers.leave()
		if i.err == nil {
			i.err = err
		}
	}
	return i.Err()
}
