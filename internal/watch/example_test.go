package watch_test

import (
	"fmt"

	"cairn/internal/kv"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
	"cairn/internal/watch"
)

// One watcher reads an earlier put from history and receives a later one from the hub.
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
	hub := watch.New(store, watch.Limits{})

	// The applier commits a batch, publishes it to readers, and then to the hub.
	writer, batch := store.NewWriter(), db.NewBatch()
	defer func() { must(batch.Close()) }()
	put := func(value string) {
		batch.Reset()
		must(writer.Begin(batch))
		writer.Start()
		_, err := writer.Put(&mvcc.PutOp{Key: []byte("color"), Value: []byte(value)})
		must(err)
		must(writer.End())
		must(writer.Finish())
		must(batch.Commit(false))
		writer.Publish()
		hub.Publish(writer.Events(), writer.EventCount())
	}

	put("blue")
	stream := hub.NewStream()
	defer stream.Close()
	stream.Watch(watch.Spec{Range: kv.KeyRange{Key: []byte("color")}, Start: 2})
	take := func() {
		deliveries, err := stream.Take()
		must(err)
		for _, d := range deliveries {
			for _, e := range d.Events {
				fmt.Printf("revision %d: %s=%s\n", e.Revision(), e.Key, e.Record.Value)
			}
		}
	}
	take() // from history
	put("red")
	hub.Dispatch() // a goroutine of the member calls it, woken by Wake
	take()         // from the hub
	// Output:
	// revision 2: color=blue
	// revision 3: color=red
}
