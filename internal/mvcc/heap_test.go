package mvcc

import (
	"fmt"
	"runtime"
	"testing"

	"cairn/internal/storage"
	"cairn/test/heap"
)

// TestHeapOfRecent writes much more than the cache of recently used values may take, with large
// and with small values.
func TestHeapOfRecent(t *testing.T) {
	for _, bytes := range []int{10, 1000, 30_000} {
		before := heap.Live()
		r := &recent{bytesMax: 3 << 20}
		value := make([]byte, bytes)
		for i := range (12 << 20) / (bytes + 100) {
			r.put(fmt.Appendf(nil, "key/%d", i), value)
		}
		heap.Within(t, fmt.Sprintf("values of %d bytes", bytes), before, 3<<20+64<<10)
		runtime.KeepAlive(r)
	}
}

// TestHeapOfCounts loads the count index of 10,000 keys, many times.
func TestHeapOfCounts(t *testing.T) {
	const keys, perBatch, copies = 10_000, 1_000, 400
	db, err := storage.OpenState(t.TempDir(), storage.Options{CacheBytes: 4 << 20, MemTableBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	s, err := Open(db, FirstRevision, 0)
	if err != nil {
		t.Fatal(err)
	}
	w, b := s.NewWriter(), db.NewBatch()
	defer func() { _ = b.Close() }()
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for n := 0; n < keys; n += perBatch {
		b.Reset()
		check(w.Begin(b))
		w.Start()
		for i := range perBatch {
			_, err := w.Put(&PutOp{Key: fmt.Appendf(nil, "/registry/pods/%09d", n+i)})
			check(err)
		}
		check(w.End())
		check(w.Finish())
		check(b.Commit(false))
		w.Publish()
	}
	b.Reset()
	check(w.Begin(b)) // divides the blocks of the last batch
	check(w.Finish())
	check(b.Commit(false))
	w.Publish()
	before := heap.Live()
	var loaded [copies]*counts
	for i := range loaded {
		loaded[i], err = loadCounts(db)
		check(err)
	}
	if n := loaded[0].total(); n != keys {
		t.Fatalf("%d keys are counted", n)
	}
	heap.Within(t, fmt.Sprintf("%d count indexes", copies), before, copies*keys*6/10)
	runtime.KeepAlive(&loaded)
}
