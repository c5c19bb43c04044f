package mvcc

import (
	"errors"
	"fmt"

	"cairn/internal/kv"
)

// Replacement is a change of the whole state store while readers use it: between BeginReplace and
// Done the store may hold the old state or the new one.
//
// A read during the replacement counts as overtaken, as by a compaction, because it may have read
// from both states. It waits for Done and starts again. A read that begins before the replacement
// and ends after it is correct: both states have the same events, and where a compaction has passed
// its revision the read is overtaken.
type Replacement struct {
	s    *Store
	done chan struct{}
}

// BeginReplace announces that the state store is about to be replaced. Only the applier calls it,
// and no batch may be open. Done must follow.
func (s *Store) BeginReplace() *Replacement {
	r := &Replacement{s: s, done: make(chan struct{})}
	s.replacing.Store(r)
	s.cache.suspend(true)
	return r
}

// Publish publishes the head of the new state, with the given revisions; it reads the count index
// as Open does. The revision must not be before the published one.
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

// Done lets readers continue, whether or not Publish was called.
func (r *Replacement) Done() {
	r.s.cache.suspend(r.s.head.Load().Loading)
	r.s.replacements.Add(1)
	r.s.replacing.Store(nil)
	close(r.done)
}

// awaitReplacement waits while the store is being replaced.
func (s *Store) awaitReplacement() {
	if r := s.replacing.Load(); r != nil {
		<-r.done
	}
}

// stableHead returns the head for a new read, after any replacement in progress. A read detects at
// its end a replacement that began meanwhile.
func (s *Store) stableHead() *Head {
	s.awaitReplacement()
	return s.head.Load()
}

// Forget drops the writer's caches of a store that was replaced.
func (w *Writer) Forget() error {
	if w.first != len(w.events) {
		return errors.New("replace keys: a command is open")
	}
	clear(w.events)
	w.events, w.first, w.bytes = w.events[:0], 0, 0
	w.counts = countsEdit{}
	w.swept = kv.Revision{}
	return nil
}
