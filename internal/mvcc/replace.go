package mvcc

import (
	"errors"
	"fmt"

	"cairn/internal/kv"
)

// Replacement is a change of the whole state store under its readers: between
// BeginReplace and Done the store may hold what was, or what is to be.
//
// A read during the replacement is overtaken, as by a compaction: it may have read from both
// states. It starts again, and waits for Done first. A read that begins before the replacement and
// ends after it is correct: both states have the same events, and where a compaction has passed its
// revision the read is overtaken.
type Replacement struct {
	s    *Store
	done chan struct{}
}

// BeginReplace announces that the state store is about to be replaced. It is the
// applier's; no batch may be open. Done must follow.
func (s *Store) BeginReplace() *Replacement {
	r := &Replacement{s: s, done: make(chan struct{})}
	s.replacing.Store(r)
	return r
}

// Publish shows the replaced state, which is as of the given revisions; it reads the
// count index as Open does. The revision must not be before the published one.
func (r *Replacement) Publish(revision, compactRevision int64) error {
	s := r.s
	if old := s.head.Load().Revision; revision < old {
		return fmt.Errorf("replace keys: revision %d after revision %d", revision, old)
	}
	head, err := loadHead(s.db, revision, compactRevision)
	if err != nil {
		return fmt.Errorf("replace keys: %w", err)
	}
	s.head.Store(head)
	return nil
}

// Done lets readers go on, whether anything was published or not.
func (r *Replacement) Done() {
	r.s.replacements.Add(1)
	r.s.replacing.Store(nil)
	close(r.done)
}

// settle waits while the store is being replaced.
func (s *Store) settle() {
	if r := s.replacing.Load(); r != nil {
		<-r.done
	}
}

// settled returns the head to begin a read with. A replacement that begins meanwhile is
// found out at the end of the read.
func (s *Store) settled() *Head {
	s.settle()
	return s.head.Load()
}

// Forget drops what the writer knows of the store, which was replaced.
func (w *Writer) Forget() error {
	if w.first != len(w.events) {
		return errors.New("replace keys: a command is open")
	}
	clear(w.events)
	w.events, w.first, w.bytes = w.events[:0], 0, 0
	w.recent = recent{}
	w.counts = countsEdit{}
	w.swept = kv.Revision{}
	return nil
}
