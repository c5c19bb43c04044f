package mvcc

import (
	"bytes"
	"errors"

	"cairn/internal/kv"
)

// count returns the live keys of [lower, upper), both of table c, at the view's
// revision.
func (s *Store) count(head *Head, v view, lower, upper []byte) (int64, error) {
	present := view{src: s, rev: head.Revision, pause: v.pause}
	n, err := indexCount(head.counts, present, lower, upper)
	since := head.Revision - v.rev
	if err != nil || since == 0 {
		return n, err
	}
	// The count at an older revision is the current one, less the creates and plus the deletes
	// since, unless that means more reads than there are keys.
	if since > n/2 {
		return v.walkCount(lower, upper)
	}
	first := eventKey(nil, kv.Revision{Main: v.rev + 1})
	it := s.db.NewIter(first, eventKey(nil, kv.Revision{Main: head.Revision + 1}))
	if !it.First() || !bytes.Equal(it.Key(), first) {
		// Every revision has an event, so a compaction, possibly one that is not published yet, has
		// removed the missing ones.
		err := it.Err()
		if err == nil {
			err = ErrOvertaken
		}
		return 0, errors.Join(err, it.Close())
	}
	pace := newPacer(v.pause)
	for ok := true; ok; ok = it.Next() {
		delta, err := deltaOf(it, lower, upper)
		if err == nil {
			err = pace.step(len(it.Value()))
		}
		if err != nil {
			return 0, errors.Join(err, it.Close())
		}
		n -= delta
	}
	return n, it.Close()
}

// deltaOf returns by how much the event at a cursor changed the number of live keys within bounds
// of table c.
func deltaOf(it cursor, lower, upper []byte) (int64, error) {
	rev, err := parseEventKey(it.Key())
	if err != nil {
		return 0, err
	}
	e, err := decodeEvent(rev, it.Value())
	if err != nil || !inRange(e.Key, lower[1:], userBound(upper)) {
		return 0, err
	}
	return e.keysDelta(), nil
}

// indexCount counts by the count index. present must be a view of the state that the index
// describes.
func indexCount(c *counts, present view, lower, upper []byte) (int64, error) {
	n, left, right, whole := c.span(lower[1:], userBound(upper))
	if !whole {
		return present.walkCount(lower, upper)
	}
	if !bytes.Equal(left, lower[1:]) {
		edge, err := present.walkCount(lower, currentKey(nil, left))
		if err != nil {
			return 0, err
		}
		n += edge
	}
	if right != nil {
		edge, err := present.walkCount(currentKey(nil, right), upper)
		if err != nil {
			return 0, err
		}
		n += edge
	}
	return n, nil
}

// userBound turns an upper bound of table c into one of user keys; nil means none.
func userBound(upper []byte) []byte {
	if len(upper) == 1 {
		return nil
	}
	return upper[1:]
}

// keysDelta returns the change in the number of live keys that the event made.
func (e *event) keysDelta() int64 {
	existed := !e.Prev.Mod.IsZero() && !e.Prev.Deleted
	switch {
	case e.Dir:
		return 0
	case e.Type == kv.EventPut && !existed:
		return 1
	case e.Type == kv.EventDelete && existed:
		return -1
	default:
		return 0
	}
}
