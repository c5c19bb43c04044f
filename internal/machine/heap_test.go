package machine

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/test/heap"
)

// TestHeapOfBatch applies many entries at once: a batch takes its limit and one command, with the
// events that it makes, and the rest of the entries are for the next one.
func TestHeapOfBatch(t *testing.T) {
	const limit, size = 1 << 20, 256 << 10
	st := newState(t)
	st.m.LimitMemory(1<<20, limit)
	var entries []*raftpb.Entry
	for i := range uint64(64) { // 16 MiB
		entries = append(entries, entry(2+i, 1, put(fmt.Sprint("k", i), strings.Repeat("v", size))))
	}
	before := heap.Live()
	applied, err := st.m.Apply(entries, 1)
	if err != nil {
		t.Fatal(err)
	}
	// The batch has each value twice, in the key and in the event; and there are the memory of the
	// events, what the batch has been committed to, and the cache of recent values.
	heap.Within(t, "one batch", before, 4*(limit+size)+3<<20)
	if applied.Entries < 3 || applied.Entries > 6 {
		t.Errorf("a batch has %d entries of %d bytes, limit %d", applied.Entries, size, limit)
	}
	runtime.KeepAlive(entries)
}
