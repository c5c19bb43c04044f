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
	if n := len(l.cache); n > 0 && index >= l.cache[0].GetIndex() && index <= last {
		term := l.cache[index-l.cache[0].GetIndex()].GetTerm()
		l.mu.Unlock()
		return term, nil
	}
	l.mu.Unlock()
	switch {
	case index == truncated.index:
		return truncated.term, nil
	case index < truncated.index:
		return 0, raft.ErrCompacted
	case index > last:
		return 0, raft.ErrUnavailable
	}
	b, err := l.store.Get(entryKey(index), nil)
	if err != nil {
		return 0, fmt.Errorf("read raft log entry %d: %w", index, err)
	}
	e, err := decodeEntry(index, b)
	return e.GetTerm(), err
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
	return l.read(lo, hi, maxSize)
}

// read reads entries from the store.
func (l *Log) read(lo, hi, maxSize uint64) (out []*raftpb.Entry, err error) {
	it := l.store.NewIter(entryKey(lo), entryKey(hi))
	size, next := uint64(0), lo
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var e *raftpb.Entry
		index := entryIndex(it.Key())
		if index != next {
			err = fmt.Errorf("%w: found entry %d, want %d", ErrCorrupt, index, next)
			break
		}
		if e, err = decodeEntry(index, it.Value()); err != nil {
			break
		}
		size += uint64(len(e.Data))
		if len(out) > 0 && size > maxSize {
			break
		}
		out = append(out, e)
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
