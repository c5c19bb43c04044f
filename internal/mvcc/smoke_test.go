package mvcc

import (
	"fmt"
	"math/rand"
	"testing"

	"cairn/internal/kv"
	"cairn/internal/storage"
)

func TestSmoke(t *testing.T) {
	db, err := storage.OpenState("x", storage.Options{FS: storage.NewCrashableFS()})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(db, FirstRevision, 0)
	if err != nil {
		t.Fatal(err)
	}
	w := s.NewWriter()
	b := db.NewBatch()
	model := map[int64]map[string]string{1: {}}
	rng := rand.New(rand.NewSource(1))
	cur := map[string]string{}
	for i := 0; i < 300; i++ {
		b.Reset()
		if err := w.Begin(b); err != nil {
			t.Fatal(err)
		}
		for j := 0; j < 10; j++ {
			w.Start()
			k := fmt.Sprintf("k%03d", rng.Intn(900))
			if rng.Intn(4) == 0 {
				res, err := w.Delete(&DeleteOp{KeyRange: kv.KeyRange{Key: []byte(k)}})
				if err != nil {
					t.Fatal(err)
				}
				if res.Deleted > 0 {
					delete(cur, k)
				}
			} else {
				if _, err := w.Put(&PutOp{Key: []byte(k), Value: []byte(fmt.Sprint(i, j))}); err != nil {
					t.Fatal(err)
				}
				cur[k] = fmt.Sprint(i, j)
			}
			if err := w.End(); err != nil {
				t.Fatal(err)
			}
			m := map[string]string{}
			for k, v := range cur {
				m[k] = v
			}
			model[w.Revision()] = m
		}
		if i%50 == 49 {
			if err := w.Compact(w.Revision() - 60); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Finish(); err != nil {
			t.Fatal(err)
		}
		if err := b.Commit(true); err != nil {
			t.Fatal(err)
		}
		w.Publish()
		if _, err := w.SweepTombstones(20); err != nil {
			t.Fatal(err)
		}
		h := s.Head()
		for n := 0; n < 3; n++ {
			rev := h.Revision - rng.Int63n(50)
			if rev < h.CompactRevision || rev < 1 {
				continue
			}
			var c Collector
			sum, err := s.Range(&RangeOp{KeyRange: kv.KeyRange{Key: []byte("k"), End: []byte("l")}, Revision: rev}, &c)
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Keys) != len(model[rev]) || sum.Count != int64(len(c.Keys)) {
				t.Fatalf("rev %d: %d keys want %d", rev, len(c.Keys), len(model[rev]))
			}
			for _, k := range c.Keys {
				if model[rev][string(k.Key)] != string(k.Value) {
					t.Fatalf("rev %d key %s", rev, k.Key)
				}
			}
			from := fmt.Sprintf("k%03d", rng.Intn(900))
			to := fmt.Sprintf("k%03d", rng.Intn(900))
			if from > to {
				from, to = to, from
			}
			want := int64(0)
			for k := range model[rev] {
				if k >= from && k < to {
					want++
				}
			}
			if from == to {
				continue
			}
			sum, err = s.Range(&RangeOp{KeyRange: kv.KeyRange{Key: []byte(from), End: []byte(to)}, Revision: rev, CountOnly: true}, &c)
			if err != nil || sum.Count != want {
				t.Fatalf("count [%s,%s) at %d of %d: %d want %d %v", from, to, rev, h.Revision, sum.Count, want, err)
			}
		}
	}
	t.Log(len(s.Head().counts.chunks[0].starts), s.Head().Keys(), len(cur))
}
