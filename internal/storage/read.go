package storage

import (
	"errors"
	"io"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// readers counts the reads in progress. Pebble panics when it is read after its end, and reports an
// open iterator at its end as a leak; but a request may outlive its server.
type readers struct {
	// n is the number of reads in progress, plus ended once new ones are refused.
	n       atomic.Int64
	drained chan struct{} // has capacity one
}

const ended = math.MinInt64

// enter begins a read, which leave must end. It returns false once the store is closed.
func (r *readers) enter() bool {
	if r.n.Add(1) > 0 {
		return true
	}
	r.leave()
	return false
}

// leave ends a read.
func (r *readers) leave() {
	if r.n.Add(-1) == ended {
		r.signalDrained()
	}
}

// signalDrained may be called more than once: refused readers are counted for a moment.
func (r *readers) signalDrained() {
	select {
	case r.drained <- struct{}{}:
	default:
	}
}

// close refuses new reads and waits for those in progress. It returns false when it was called
// before.
func (r *readers) close(log *slog.Logger) bool {
	open := r.n.Or(ended)
	if open < 0 {
		return false
	}
	if open == 0 {
		return true
	}
	// Otherwise a leaked reader would silently hang the member.
	log.Info("storage waits for reads to end before it closes", "reads", open)
	<-r.drained
	return true
}

// lent is the closer of a lent value; it ends the read.
type lent struct {
	readers *readers
	closer  io.Closer
}

// lents is a pool of closers, to save an allocation per read.
var lents = sync.Pool{New: func() any { return new(lent) }}

// Close implements io.Closer.
func (l *lent) Close() error {
	err := l.closer.Close()
	l.readers.leave()
	*l = lent{} // a second Close is a bug, and panics
	lents.Put(l)
	return err
}

// get returns the value of key, or ErrNotFound. The bytes are valid until the closer is closed.
func (s *Store) get(key []byte) ([]byte, io.Closer, error) {
	v, closer, err := s.db.Get(key)
	if err == nil {
		// Pebble has no error, and an empty value, if the value's blob file cannot be read.
		if it, ok := closer.(*pebble.Iterator); ok && it.Error() != nil {
			err = it.Close()
		}
	}
	if err != nil {
		return nil, nil, s.disk.checkRead(err)
	}
	return v, closer, nil
}

// Lend returns the value of key without a copy, or ErrNotFound. The bytes are valid until the
// closer is closed, which the caller must do, once, when err is nil.
func (s *Store) Lend(key []byte) ([]byte, io.Closer, error) {
	if !s.readers.enter() {
		return nil, nil, ErrClosed
	}
	v, closer, err := s.get(key)
	if err != nil {
		s.readers.leave()
		return nil, nil, err
	}
	l := lents.Get().(*lent)
	l.readers, l.closer = &s.readers, closer
	return v, l, nil
}

// Get appends the value of key to dst. It returns ErrNotFound when there is none.
func (s *Store) Get(key, dst []byte) ([]byte, error) {
	if !s.readers.enter() {
		return dst, ErrClosed
	}
	defer s.readers.leave()
	v, closer, err := s.get(key)
	if err != nil {
		return dst, err
	}
	dst = append(dst, v...)
	return dst, closer.Close()
}

// GetDurable appends the value of key that has certainly reached the disk. It returns ErrNotFound
// when there is none.
func (s *Store) GetDurable(key, dst []byte) ([]byte, error) {
	if !s.readers.enter() {
		return dst, ErrClosed
	}
	defer s.readers.leave()
	it, err := s.db.NewIter(&pebble.IterOptions{
		LowerBound: key, UpperBound: append(append([]byte(nil), key...), 0), OnlyReadGuaranteedDurable: true,
	})
	if err != nil {
		return dst, err
	}
	if !it.First() {
		return dst, errors.Join(it.Error(), it.Close(), ErrNotFound)
	}
	v, err := it.ValueAndErr()
	dst = append(dst, v...)
	return dst, errors.Join(s.disk.checkRead(err), it.Close())
}
