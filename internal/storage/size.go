package storage

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// size is the size of a store. The files are measured again only after pebble has changed them, so
// that a request may read the size; commits that are still in memory are counted one by one.
type size struct {
	changed atomic.Bool   // the files have changed since they were measured
	total   atomic.Uint64 // bytes of all files
	live    atomic.Uint64 // bytes of the files that are in use
	memory  atomic.Uint64 // bytes of the commits that are not flushed

	mu      sync.Mutex
	commits []committed // commits that are not flushed, in order
}

// committed is a run of consecutive commits.
type committed struct {
	last  uint64 // pebble's sequence number of the last change
	bytes uint64
}

// committedBytes is the number of bytes up to which commits are counted together.
const committedBytes = 64 << 10

// add counts a commit.
func (z *size) add(b *pebble.Batch) {
	n := uint64(b.Len())
	last := uint64(b.SeqNum()) + uint64(b.Count()) - 1
	z.mu.Lock()
	defer z.mu.Unlock()
	z.memory.Add(n)
	if i := len(z.commits) - 1; i >= 0 && z.commits[i].bytes+n <= committedBytes {
		z.commits[i].last, z.commits[i].bytes = last, z.commits[i].bytes+n
		return
	}
	z.commits = append(z.commits, committed{last, n})
}

// flushed removes the commits that a flush has written.
func (z *size) flushed(info pebble.FlushInfo) {
	z.changed.Store(true)
	through := uint64(0)
	for _, t := range info.Output {
		through = max(through, uint64(t.LargestSeqNum))
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	done := 0
	for done < len(z.commits) && z.commits[done].last <= through {
		z.memory.Add(-z.commits[done].bytes)
		done++
	}
	z.commits = z.commits[:copy(z.commits, z.commits[done:])]
}

// empty removes all commits in memory: the store's content was replaced.
func (z *size) empty() {
	z.changed.Store(true)
	z.mu.Lock()
	defer z.mu.Unlock()
	z.memory.Store(0)
	z.commits = nil
}

// Measure makes the next call of Size measure the files. Pebble reports some changes before they
// show in its figures, so the caller measures at intervals.
func (s *Store) Measure() { s.size.changed.Store(true) }

// TableBytes returns how many bytes of the store's tables have keys from first to last, about. It
// does not count what has not been flushed.
func (s *Store) TableBytes(first, last []byte) (uint64, error) {
	if !s.readers.enter() {
		return 0, ErrClosed
	}
	defer s.readers.leave()
	bytes, err := s.db.EstimateDiskUsage(first, last)
	if err != nil {
		return 0, fmt.Errorf("estimate the size of a range: %w", err)
	}
	return bytes, nil
}

// Size returns the size of the store: its files, and commits that are still in memory. inUse leaves
// out the files that are about to be removed, or are still being written. Both are 0 for a closed
// store.
func (s *Store) Size() (total, inUse uint64) {
	if !s.readers.enter() {
		return 0, 0
	}
	defer s.readers.leave()
	z := s.size
	if z.changed.Swap(false) {
		m := s.db.Metrics()
		total := m.DiskSpaceUsage()
		z.total.Store(total)
		z.live.Store(min(total, m.Table.Local.LiveSize+m.BlobFiles.Local.LiveSize))
	}
	memory := z.memory.Load()
	return z.total.Load() + memory, z.live.Load() + memory
}
