package mvcc

import (
	"testing"

	"cairn/internal/kv"
)

// BenchmarkDecode decodes the values of tables c and r of a key that was put often.
func BenchmarkDecode(b *testing.B) {
	n := node{
		Record: kv.Record{CreateRevision: 70_000, Mod: kv.Revision{Main: 80_000}, Version: 7, Value: make([]byte, 100)},
		chain:  chain{depth: 7, path: []kv.Revision{{Main: 79_000}, {Main: 75_000}}},
	}
	e := event{Event: kv.Event{Key: benchKey(1), Record: n.Record, Prev: n.Record}, jump: n.chain.path[0]}
	current, revision := appendNode(nil, &n), appendEvent(nil, &e)
	b.Run("record", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			if r, err := decodeRecord(current); err != nil || len(r.Value) != 100 {
				b.Fatal(r, err)
			}
		}
	})
	b.Run("node", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			if got, err := decodeNode(current); err != nil || len(got.chain.path) != 2 {
				b.Fatal(got, err)
			}
		}
	})
	b.Run("event", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			if got, err := decodeEvent(n.Mod, revision); err != nil || len(got.Prev.Value) != 100 {
				b.Fatal(got, err)
			}
		}
	})
}
