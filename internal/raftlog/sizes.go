package raftlog

import (
	"math"

	"go.etcd.io/raft/v3/raftpb"
)

// entryOverhead is roughly what an entry takes on disk in addition to its data.
const entryOverhead = 16

// sizeOf returns the size of an entry for Log.sizes.
func sizeOf(e *raftpb.Entry) uint32 {
	return uint32(min(len(e.Data)+entryOverhead, math.MaxUint32))
}

// estimateSizes sets the sizes of the entries that the log was opened with. To read them all would
// delay the start, so each gets an equal part of the tables that have them.
func (l *Log) estimateSizes() error {
	n := l.last - l.truncated.index
	l.sizes = make([]uint32, n)
	if n == 0 {
		return nil
	}
	bytes, err := l.store.TableBytes(entryKey(l.truncated.index+1), entryKey(l.last))
	if err != nil {
		return err
	}
	each := uint32(min(bytes/n, math.MaxUint32))
	for i := range l.sizes {
		l.sizes[i] = each
	}
	return nil
}

// Newest returns the index up to which the log may be truncated so that, of the entries up to a
// last one, it keeps the newest: at most a number of entries, and of bytes. Of entries that the log
// was opened with the bytes are estimated.
func (l *Log) Newest(last, entries, bytes uint64) (index uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first, total := l.truncated.index+1, uint64(0)
	if last-first >= uint64(len(l.sizes)) { // also when last is before first
		return last
	}
	for index = last; index >= first && last-index < entries; index-- {
		if total += uint64(l.sizes[index-first]); total > bytes {
			break
		}
	}
	return index
}
