package mvcc_test

import (
	"fmt"

	"cairn/internal/kv"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
)

// Two batches of one put each, then reads at the current revision and at an earlier one.
func Example() {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	db, err := storage.OpenState("state", storage.Options{FS: storage.NewCrashableFS(), CacheBytes: 4 << 20, MemTableBytes: 1 << 20})
	must(err)
	defer func() { must(db.Close()) }()
	store, err := mvcc.Open(db, mvcc.FirstRevision, 0)
	must(err)

	writer, batch := store.NewWriter(), db.NewBatch()
	defer func() { must(batch.Close()) }()
	for _, value := range []string{"blue", "red"} {
		batch.Reset()
		must(writer.Begin(batch))
		writer.Start()
		_, err := writer.Put(&mvcc.PutOp{Key: []byte("color"), Value: []byte(value)})
		must(err)
		must(writer.End())
		must(writer.Finish())
		must(batch.Commit(false))
		writer.Publish() // from here on readers see it
	}

	for _, revision := range []int64{0, 2} {
		var found mvcc.Collector
		summary, err := store.Range(&mvcc.RangeOp{KeyRange: kv.KeyRange{Key: []byte("color")}, Revision: revision}, &found)
		must(err)
		r := found.Keys[0]
		fmt.Printf("%s=%s, version %d of revision %d; the store is at %d\n", r.Key, r.Value, r.Version, r.Mod.Main, summary.Revision)
	}
	// Output:
	// color=red, version 2 of revision 3; the store is at 3
	// color=blue, version 1 of revision 2; the store is at 3
}
