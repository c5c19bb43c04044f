package v2tree

import (
	"fmt"
	"testing"

	"cairn/internal/mvcc"
	"cairn/internal/storage"
)

// benchState has 100,000 keys of three names each.
func benchState(b *testing.B) (*storage.Store, *mvcc.Store) {
	db, err := storage.OpenState("state", storage.Options{FS: storage.NewCrashableFS()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	store, err := mvcc.Open(db, mvcc.FirstRevision, 0)
	if err != nil {
		b.Fatal(err)
	}
	setAll(b, db, store, 100_000)
	return db, store
}

func benchPath(i int) []byte { return fmt.Appendf(nil, "/app%d/dir%d/key%d", i%10, i%100, i) }

// setAll sets n keys, 200 in a batch.
func setAll(b *testing.B, db *storage.Store, store *mvcc.Store, n int) {
	w, batch, value := store.NewWriter(), db.NewBatch(), make([]byte, 256)
	for i := 0; i < n; {
		batch.Reset()
		if err := w.Begin(batch); err != nil {
			b.Fatal(err)
		}
		for j := 0; j < 200 && i < n; i, j = i+1, j+1 {
			w.Start()
			c := Command{Kind: KindSet, Path: benchPath(i * 7919 % 100_000), Value: value}
			if _, err := Apply(w, 1, &c); err != nil {
				b.Fatal(err)
			}
			if err := w.End(); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Finish(); err != nil {
			b.Fatal(err)
		}
		if err := batch.Commit(false); err != nil {
			b.Fatal(err)
		}
		w.Publish()
	}
}

func BenchmarkSet(b *testing.B) {
	db, store := benchState(b)
	b.ReportAllocs()
	b.ResetTimer()
	setAll(b, db, store, b.N)
}

func BenchmarkGet(b *testing.B) {
	_, store := benchState(b)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if _, _, err := Get(store.Reading, benchPath(i*7919%100_000), false, 1, mvcc.Unlimited); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkList lists the 100 directories' 1,000 keys.
func BenchmarkList(b *testing.B) {
	_, store := benchState(b)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		n, _, err := Get(store.Reading, fmt.Appendf(nil, "/app%d/dir%d", i%10, i%100), false, 1, mvcc.Unlimited)
		if err != nil || len(n.Nodes) != 1000 {
			b.Fatal(len(n.Nodes), err)
		}
	}
}
