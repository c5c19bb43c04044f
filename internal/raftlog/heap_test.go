package raftlog

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/storage"
	"cairn/test/heap"
)

// TestHeapOfEntries appends many more entries, none of which is applied, than may be in memory.
func TestHeapOfEntries(t *testing.T) {
	const limit, memtable, cache, slack = 1 << 20, 256 << 10, 256 << 10, 2 << 20
	store, err := storage.OpenLog(t.TempDir(), storage.Options{MemTableBytes: memtable, CacheBytes: cache})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	if err := Initialize(store, 1, 1); err != nil {
		t.Fatal(err)
	}
	log, err := Open(store, 1, &raftpb.ConfState{Voters: []uint64{1}})
	if err != nil {
		t.Fatal(err)
	}
	log.LimitCache(limit)
	before := heap.Live()
	for i := range uint64(256) { // 16 MB
		e := entry(2+i, 1, "")
		e.Data = make([]byte, 64<<10)
		if err := log.Append([]*raftpb.Message{message(false, e)}); err != nil {
			t.Fatal(err)
		}
	}
	heap.Within(t, "16 MiB of entries", before, limit+2*memtable+cache+slack)
	if last, err := log.LastIndex(); err != nil || last != 257 {
		t.Fatal(last, err)
	}
}
