package watch

import (
	"fmt"
	"testing"

	"cairn/internal/kv"
)

// BenchmarkPublish measures the applier's cost of publishing a put.
func BenchmarkPublish(b *testing.B) {
	for _, watchers := range []int{0, 1} {
		b.Run(fmt.Sprintf("watchers=%d", watchers), func(b *testing.B) {
			s := newStore(b, Limits{})
			stream := s.hub.NewStream()
			defer stream.Close()
			for range watchers {
				stream.Watch(Spec{Range: kv.KeyRange{Key: []byte("other")}})
			}
			s.batch(s.put("k", "v"))
			b.ReportAllocs()
			for b.Loop() {
				s.hub.Publish(s.w.Events(), s.w.EventCount())
			}
		})
	}
}

// BenchmarkDispatch dispatches one put to many watchers of its key, or to one of many watchers
// whose keys differ, and takes the events.
func BenchmarkDispatch(b *testing.B) {
	for _, same := range []bool{true, false} {
		b.Run(fmt.Sprintf("same=%v/watchers=10000", same), func(b *testing.B) {
			s := newStore(b, Limits{})
			stream := s.hub.NewStream()
			defer stream.Close()
			for i := range 10_000 {
				key := "k"
				if !same {
					key = fmt.Sprintf("k%d", i)
				}
				stream.Watch(Spec{Range: kv.KeyRange{Key: []byte(key)}})
			}
			e := kv.Event{Key: []byte("k"), Record: kv.Record{Mod: kv.Revision{Main: 1}}}
			if !same {
				e.Key = []byte("k77")
			}
			b.ReportAllocs()
			for b.Loop() {
				e.Record.Mod.Main++
				s.hub.Publish(func(yield func(*kv.Event) bool) { yield(&e) }, 1)
				s.hub.Dispatch()
				if taken, err := stream.Take(); err != nil || len(taken) == 0 {
					b.Fatal("nothing was delivered")
				}
			}
		})
	}
}
