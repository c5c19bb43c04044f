package storage

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"cairn/test/heap"
)

// TestHeapOfStores writes and reads much more than the memtables and the block cache of a store may
// take.
func TestHeapOfStores(t *testing.T) {
	const cache, memtable, slack = 2 << 20, 1 << 20, 3 << 20
	const values, perBatch = 960, 30
	for _, c := range []struct {
		name      string
		open      func(string, Options) (*Store, error)
		memtables int64
	}{{"state", OpenState, 4}, {"log", OpenLog, 2}} {
		t.Run(c.name, func(t *testing.T) {
			before := heap.Live()
			s, err := c.open(t.TempDir(), Options{CacheBytes: cache, MemTableBytes: memtable})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			most := cache + c.memtables*memtable + slack
			random := rand.NewChaCha8([32]byte{})
			value := make([]byte, 16<<10)
			b := s.NewBatch()
			for i := range uint32(values) { // 16 MB
				_, _ = random.Read(value) // so that it cannot be compressed
				if err := b.Append(binary.BigEndian.AppendUint32([]byte{'r'}, i), value); err != nil {
					t.Fatal(err)
				}
				if i%perBatch < perBatch-1 {
					continue
				}
				if err := b.Commit(false); err != nil {
					t.Fatal(err)
				}
				b.Reset()
				if i%(10*perBatch) == perBatch-1 {
					heap.Within(t, "written", before, most)
				}
			}
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			it, n := s.NewIter([]byte{'r'}, []byte{'r' + 1}), 0
			for ok := it.First(); ok; ok = it.Next() {
				n += len(it.Value())
			}
			if err := it.Close(); err != nil || n != values*len(value) {
				t.Fatal(n, err)
			}
			heap.Within(t, "read", before, most)
		})
	}
}
