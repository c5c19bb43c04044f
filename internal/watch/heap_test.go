package watch

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"cairn/internal/kv"
	"cairn/test/heap"
)

// publish publishes n batches of an event of size bytes each, and calls then after each of them.
func publish(s *store, n, size int, then func()) {
	rev := s.keys.Head().Revision
	for i := range n {
		r := kv.Record{Value: make([]byte, size), CreateRevision: rev + int64(i) + 1, Mod: kv.Revision{Main: rev + int64(i) + 1}, Version: 1}
		e := &kv.Event{Type: kv.EventPut, Key: []byte("k"), Record: r}
		s.hub.Publish(slices.Values([]*kv.Event{e}), 1)
		then()
	}
}

// TestHeapOfEvents publishes many more events than may wait for dispatch, and then for a stream
// that takes none.
func TestHeapOfEvents(t *testing.T) {
	const limit, size, slack = 1 << 20, 64 << 10, 512 << 10
	s := newStore(t, Limits{QueueBytes: limit, WindowBytes: limit})
	stream := s.hub.NewStream()
	defer stream.Close()
	stream.Watch(Spec{Range: kv.KeyRange{Key: []byte("k")}})
	before := heap.Live()
	publish(s, 200, size, func() {})
	heap.Within(t, "events that wait for dispatch", before, limit+slack)

	s = newStore(t, Limits{QueueBytes: limit, WindowBytes: limit})
	slow := s.hub.NewStream()
	defer slow.Close()
	slow.Watch(Spec{Range: kv.KeyRange{Key: []byte("k")}})
	before = heap.Live()
	publish(s, 200, size, s.hub.Dispatch)
	heap.Within(t, "events that wait for a stream", before, limit+slack)
}

// TestHeapOfWatchKeys adds watchers of long keys to streams until there is no room.
func TestHeapOfWatchKeys(t *testing.T) {
	const streamBytes, hubBytes, size = 1 << 20, 4 << 20, 16 << 10
	s := newStore(t, Limits{StreamBytes: streamBytes, HubBytes: hubBytes})
	before := heap.Live()
	full := 0
	for n := 0; full < 6; n++ {
		stream := s.hub.NewStream()
		t.Cleanup(stream.Close)
		for i := 0; ; i++ {
			r := kv.KeyRange{Key: []byte(fmt.Sprint(n, "/", i, strings.Repeat("k", size)))}
			err := stream.Room(r)
			if err == nil {
				stream.Watch(Spec{Range: r})
				continue
			}
			if !errors.Is(err, ErrStreamFull) && !errors.Is(err, ErrHubFull) {
				t.Fatal(err)
			}
			full++
			break
		}
	}
	heap.Within(t, "watched keys", before, hubBytes+1<<20)
}
