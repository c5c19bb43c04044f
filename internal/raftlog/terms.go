package raftlog

import (
	"fmt"
	"slices"
)

// terms knows the terms of entries without reading them, from the position of the truncation on.
// Raft asks for the term of the entry before each message that it sends, and an entry may have
// megabytes.
//
// Terms never decrease from an entry to the next, so the entries between two of the same term are
// of that term, too: there is at most one run for each term. Only the entries between two runs are
// unknown, because the log was opened with them; Log.Term reads such an entry, and learns its term.
//
// Invariant: first ≤ last in each run, and both the indexes and the terms increase from run to run
// (learn checks it).
type terms []termRun

// termRun states that the entries first to last are of a term.
type termRun struct{ first, last, term uint64 }

// of returns the term of an entry, if it is known.
func (t terms) of(index uint64) (term uint64, known bool) {
	if i := t.search(index); i < len(t) && t[i].first <= index {
		return t[i].term, true
	}
	return 0, false
}

// search returns the position of the first run that ends at the entry or after it.
func (t terms) search(index uint64) int {
	i, _ := slices.BinarySearchFunc(t, index, func(r termRun, index uint64) int {
		if r.last < index {
			return -1
		}
		return 1
	})
	return i
}

// learn adds the term of an entry whose term is not known.
func (t *terms) learn(index, term uint64) error {
	s := *t
	i := s.search(index)
	switch {
	case i > 0 && s[i-1].term > term, i < len(s) && s[i].term < term:
		return fmt.Errorf("%w: entry %d is of term %d, between others of %v", ErrCorrupt, index, term, s)
	case i > 0 && s[i-1].term == term:
		s[i-1].last = index
	case i < len(s) && s[i].term == term:
		s[i].first = index
	default:
		*t = slices.Insert(s, i, termRun{index, index, term})
	}
	return nil
}

// cut forgets the entries from first on: they are replaced.
func (t *terms) cut(first uint64) {
	s := *t
	for n := len(s); n > 0 && s[n-1].last >= first; n = len(s) {
		if s[n-1].first < first {
			s[n-1].last = first - 1
			break
		}
		s = s[:n-1]
	}
	*t = s
}

// truncate forgets the entries before the one at a position, which may become the first.
func (t *terms) truncate(at position) {
	s := *t
	i := s.search(at.index)
	s = s[i:]
	switch {
	case len(s) > 0 && s[0].term == at.term:
		s[0].first = at.index
		*t = s
	default:
		*t = slices.Insert(s, 0, termRun{at.index, at.index, at.term})
	}
}
