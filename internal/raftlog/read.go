package raftlog

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// InitialState implements raft.Storage.
func (l *Log) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hard, l.confState, nil
}

// FirstIndex implements raft.Storage.
func (l *Log) FirstIndex() (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.truncated.index + 1, nil
}

// LastIndex implements raft.Storage.
func (l *Log) LastIndex() (uint64, error) { return l.lastIndex(), nil }

func (l *Log) lastIndex() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Term implements raft.Storage.
func (l *Log) Term(index uint64) (uint64, error) {
	l.mu.Lock()
	truncated, last := l.truncated, l.last
	term, known := l.terms.of(index)
	l.mu.Unlock()
	switch {
	case index < truncated.index:
		return 0, raft.ErrCompacted
	case index > last:
		return 0, raft.ErrUnavailable
	case known:
		return term, nil
	}
	return l.readTerm(index)
}

// readTerm reads the term of an entry that the log was opened with.
func (l *Log) readTerm(index uint64) (uint64, error) {
	b, closer, err := l.store.Lend(entryKey(index))
	if err != nil {
		return 0, l.unlessTruncated(index, fmt.Errorf("read raft log entry %d: %w", index, err))
	}
	e, err := parseRecord(index, b)
	if err = errors.Join(err, closer.Close()); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	term, known := l.terms.of(index)
	switch {
	case index < l.truncated.index: // meanwhile, as in the other cases
		return 0, raft.ErrCompacted
	case index > l.last:
		return 0, raft.ErrUnavailable
	case known:
		return term, nil
	}
	return e.term, l.terms.learn(index, e.term)
}

// unlessTruncated returns the error of reading an entry, or raft.ErrCompacted if a truncation has
// removed the entry meanwhile.
func (l *Log) unlessTruncated(index uint64, err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if index <= l.truncated.index {
		return raft.ErrCompacted
	}
	return err
}

// Entries implements raft.Storage.
func (l *Log) Entries(lo, hi, maxSize uint64) ([]*raftpb.Entry, error) {
	l.mu.Lock()
	truncated, last := l.truncated, l.last
	if n := len(l.cache); n > 0 && lo >= l.cache[0].GetIndex() && hi <= last+1 {
		first := l.cache[0].GetIndex()
		out := append([]*raftpb.Entry(nil), limitSize(l.cache[lo-first:hi-first], maxSize)...)
		l.mu.Unlock()
		return out, nil
	}
	l.mu.Unlock()
	switch {
	case lo <= truncated.index:
		return nil, raft.ErrCompacted
	case hi > last+1:
		return nil, raft.ErrUnavailable
	}
	out, err := l.read(lo, hi, maxSize)
	if err != nil {
		return nil, l.unlessTruncated(lo, err)
	}
	return out, nil
}

// read reads entries from the store.
func (l *Log) read(lo, hi, maxSize uint64) (out []*raftpb.Entry, err error) {
	it := l.store.NewIter(entryKey(lo), entryKey(hi))
	size, next := uint64(0), lo
	for ok := it.First(); ok; ok = it.Next() {
		var e record
		index := entryIndex(it.Key())
		if index != next {
			err = fmt.Errorf("%w: found entry %d, want %d", ErrCorrupt, index, next)
			break
		}
		if e, err = parseRecord(index, it.Value()); err != nil {
			break
		}
		size += uint64(len(e.data))
		if len(out) > 0 && size > maxSize {
			break
		}
		out = append(out, e.entry(index))
		next++
	}
	if err = errors.Join(err, it.Close()); err != nil {
		return nil, err
	}
	if len(out) == 0 && lo < hi {
		return nil, fmt.Errorf("%w: no entry %d", ErrCorrupt, lo)
	}
	return out, nil
}

// limitSize returns the longest prefix of entries whose data is at most maxSize bytes, but at least
// one entry.
func limitSize(entries []*raftpb.Entry, maxSize uint64) []*raftpb.Entry {
	size := uint64(0)
	for i, e := range entries {
		if size += uint64(len(e.Data)); i > 0 && size > maxSize {
			return entries[:i]
		}
	}
	return entries
}
