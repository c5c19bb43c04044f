package storage

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// everything is the span of all keys: each begins with a Table.
var everything = pebble.KeyRange{Start: []byte{0}, End: []byte{0xff}}

// View is the whole store as of one moment: later commits, and a Replace, do not change it.
//
// It blocks no other operation. Until it is closed the tables on disk that it needs are kept, even
// if compactions have rewritten their keys, but nothing in memory: creating it flushes the store.
// When the store is closed, reads of the view return ErrClosed.
//
// Its methods may be called by one goroutine at a time.
type View struct {
	store *Store
	// The store's viewsMu guards snapshot, which is nil once the view is closed.
	snapshot *pebble.EventuallyFileOnlySnapshot
}

// NewView returns the store as of now. It waits until the data in memory has reached the disk.
func (s *Store) NewView() (*View, error) {
	if !s.readers.enter() {
		return nil, ErrClosed
	}
	defer s.readers.leave()
	v := &View{store: s, snapshot: s.db.NewEventuallyFileOnlySnapshot([]pebble.KeyRange{everything})}
	// Waiting alone would not flush the active memtable.
	err := s.Flush()
	if err == nil {
		err = v.snapshot.WaitForFileOnlySnapshot(context.Background(), 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("flush for a view: %w", err), v.snapshot.Close())
	}
	s.viewsMu.Lock()
	s.views[v] = struct{}{}
	s.viewsMu.Unlock()
	return v, nil
}

// Iter returns an iterator over [lower, upper) of the view; nil bounds are open. It must be closed,
// and soon: the store's Close waits for it.
func (v *View) Iter(lower, upper []byte) *Iter {
	r := &v.store.readers
	if !r.enter() {
		return &Iter{err: ErrClosed}
	}
	v.store.viewsMu.Lock()
	defer v.store.viewsMu.Unlock()
	if v.snapshot == nil {
		r.leave()
		return &Iter{err: ErrClosed}
	}
	it, err := v.snapshot.NewIter(within(lower, upper))
	return v.store.counted(it, err)
}

// Get returns the value of key, which the caller owns, or ErrNotFound.
func (v *View) Get(key []byte) ([]byte, error) {
	it := v.Iter(key, append(append([]byte(nil), key...), 0))
	var value []byte
	found := it.First()
	if found {
		value = append([]byte{}, it.Value()...)
	}
	if err := it.Close(); err != nil {
		return nil, err
	}
	if !found {
		return nil, ErrNotFound
	}
	return value, nil
}

// Close releases the view. The view's iterators must have been closed.
func (v *View) Close() error { return v.store.closeView(v) }

func (s *Store) closeView(v *View) error {
	s.viewsMu.Lock()
	defer s.viewsMu.Unlock()
	if v.snapshot == nil {
		return nil
	}
	err := v.snapshot.Close()
	v.snapshot = nil
	delete(s.views, v)
	return err
}

// closeViews closes the views that are still open when the store is closed.
func (s *Store) closeViews() (err error) {
	for {
		s.viewsMu.Lock()
		var open *View
		for open = range s.views {
			break
		}
		s.viewsMu.Unlock()
		if open == nil {
			return err
		}
		err = errors.Join(err, s.closeView(open))
	}
}
