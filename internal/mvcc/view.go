package mvcc

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"cairn/internal/kv"
	"cairn/internal/storage"
)

// cursor is the common interface of storage.Iter and storage.BatchIter.
type cursor interface {
	First() bool
	Next() bool
	SeekGE(key []byte) bool
	Key() []byte
	Value() []byte
	Err() error
	Close() error
}

// source is where a view reads records and events: the published store, or the store with the
// writes of an open batch.
type source interface {
	lend(key []byte) ([]byte, io.Closer, error)
	cursor(lower, upper []byte) cursor
	// event reads the event of a revision, or returns ErrOvertaken.
	event(rev kv.Revision) (event, error)
	// overtaken returns ErrOvertaken when a compaction has passed the revision.
	overtaken(rev int64) error
}

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
	// The order matters: a replacement ends only after its head is published.
	if s.replacing.Load() != nil || s.head.Load().CompactRevision > rev {
		return ErrOvertaken
	}
	return nil
}

// view reads a source as of a revision.
type view struct {
	src source
	rev int64
	// loading refuses reads, see Head.Loading.
	loading bool
	// pause, if not nil, is called by walks after each pauseBytes or so; its error ends them.
	pause func() error
	// pauseAt, if not nil, takes the place of pause in walks; see PauserAt.
	pauseAt func(key []byte) error
}

// asOf returns the version of a key at the view's revision, given its newest one in table c. It
// follows the key's events back (see chain) to the oldest one after the revision, whose replaced
// version is the result.
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

// get reads one key, and passes it to found when it is live.
func (v view) get(key []byte, found func(r *kv.Record)) error {
	if v.loading {
		return ErrLoading
	}
	b, closer, err := v.src.lend(currentKey(make([]byte, 0, 64), key))
	if errors.Is(err, storage.ErrNotFound) {
		return v.src.overtaken(v.rev) // a sweep may have removed its tombstone
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
		// The key may have been deleted, with the delete compacted, before it was created again.
		return v.src.overtaken(v.rev)
	}
	if err == nil {
		found(&r)
	}
	return err
}

// walk calls live with the live keys of [lower, upper), both of table c, in order, until it returns
// false.
func (v view) walk(lower, upper []byte, live func(key []byte, r *kv.Record) bool) error {
	return v.walkSeek(lower, upper, func(key []byte, r *kv.Record) (seek []byte, ok bool) {
		return nil, live(key, r)
	})
}

// walkSeek is walk for callers that skip keys: when live returns a user key, the walk continues at
// the first key at or after it.
func (v view) walkSeek(lower, upper []byte, live func(key []byte, r *kv.Record) (seek []byte, ok bool)) error {
	if v.loading {
		return ErrLoading
	}
	w := walk{view: v, it: v.src.cursor(lower, upper)}
	// The cursor is one consistent view, so one check is enough: a later compaction does not change
	// what it reads.
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
	past *storage.Iter // over table r, opened on first use
}

func (w *walk) run(live func(key []byte, r *kv.Record) (seek []byte, ok bool)) error {
	pause := w.pause
	if w.pauseAt != nil {
		pause = func() error { return w.pauseAt(w.it.Key()[1:]) }
	}
	pace := newPacer(pause)
	var r kv.Record // one for all keys: it escapes to live, which must not keep it
	for more := w.it.First(); more; {
		value := w.it.Value()
		if err := pace.step(len(value)); err != nil {
			return err
		}
		newest, err := decodeRecord(value)
		if err != nil {
			return err
		}
		if r, err = w.asOf(&newest, w.event); err != nil {
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

// event reads an event from the walk's cursor. A batch's walk reads events that the batch has not
// written yet from the writer.
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

// close ends the walk. The iterators' errors take precedence over err.
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
