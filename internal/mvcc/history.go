package mvcc

import (
	"fmt"
	"iter"

	"cairn/internal/kv"
	"cairn/internal/storage"
)

// Events yields the changes of the last published batch, in the order of their revisions. The
// events are valid until the next Begin; the bytes that they refer to never change.
func (w *Writer) Events() iter.Seq[*kv.Event] {
	return func(yield func(*kv.Event) bool) {
		for i := range w.events {
			if !yield(&w.events[i].Event) {
				return
			}
		}
	}
}

// EventCount returns the number of events that Events yields.
func (w *Writer) EventCount() int { return len(w.events) }

// Tally has the numbers of a batch's changes.
type Tally struct {
	Events, Puts, Deletes int   // of keys; Events includes those of directories
	PutBytes              int64 // keys and values of the puts
}

// Tally counts the events of Events.
func (w *Writer) Tally() (t Tally) {
	t.Events = len(w.events)
	for i := range w.events {
		switch e := &w.events[i]; {
		case e.Dir:
		case e.Type == kv.EventDelete:
			t.Deletes++
		default:
			t.Puts++
			t.PutBytes += int64(len(e.Key) + len(e.Record.Value))
		}
	}
	return t
}

// History calls visit with the events of the revisions [from, to], in order, until it returns
// false. to must have been published. The events, and all that they refer to, are valid during the
// call.
//
// When from has been compacted it returns ErrCompacted and the oldest revision that history still
// has. It detects this by the events, not by the head: revisions have no gaps, so a missing one
// means that a compaction is in the store but not yet published.
func (s *Store) History(from, to int64, visit func(e *kv.Event) bool) (oldest int64, err error) {
	from = max(from, FirstRevision+1)
	if from > to {
		return 0, nil
	}
	it := s.db.NewIter(eventKey(nil, kv.Revision{Main: from}), []byte{byte(storage.TableRevisions) + 1})
	oldest, err = history(it, from, to, visit)
	if cerr := it.Close(); cerr != nil { // takes precedence, since a failed iterator looks like one at its end
		return 0, fmt.Errorf("read history: %w", cerr)
	}
	return oldest, err
}

func history(it cursor, from, to int64, visit func(e *kv.Event) bool) (oldest int64, err error) {
	ok := it.First()
	if !ok {
		return to + 1, ErrCompacted
	}
	for first := true; ok; ok = it.Next() {
		rev, err := parseEventKey(it.Key())
		switch {
		case err != nil:
			return 0, err
		case first && rev.Main != from:
			return rev.Main, ErrCompacted
		case rev.Main > to:
			return 0, nil
		}
		first = false
		e, err := decodeEvent(rev, it.Value())
		if err != nil {
			return 0, err
		}
		if !visit(&e.Event) {
			return 0, nil
		}
	}
	return 0, nil
}
