package mvcc

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"cairn/internal/kv"
	"cairn/internal/storage"
)

// The figures of ADR 0001: go test -run '^$' -bench . ./internal/mvcc

const benchKeys = 100_000

func benchKey(i int) []byte { return fmt.Appendf(nil, "/bench/%032d", i) }

type benchStore struct {
	b     *testing.B
	db    *storage.Store
	s     *Store
	w     *Writer
	batch *storage.Batch
}

func newBenchStore(b *testing.B) *benchStore {
	db, err := storage.OpenState(b.TempDir(), storage.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	s, err := Open(db, FirstRevision, 0)
	if err != nil {
		b.Fatal(err)
	}
	return &benchStore{b: b, db: db, s: s, w: s.NewWriter(), batch: db.NewBatch()}
}

// apply runs n commands in batches of 256.
func (s *benchStore) apply(n int, command func(i int) error) {
	for i := 0; i < n; {
		s.batch.Reset()
		if err := s.w.Begin(s.batch); err != nil {
			s.b.Fatal(err)
		}
		for end := min(n, i+256); i < end; i++ {
			s.w.Start()
			if err := command(i); err != nil {
				s.b.Fatal(err)
			}
			if err := s.w.End(); err != nil {
				s.b.Fatal(err)
			}
		}
		if err := s.w.Finish(); err != nil {
			s.b.Fatal(err)
		}
		if err := s.batch.Commit(false); err != nil {
			s.b.Fatal(err)
		}
		s.w.Publish()
	}
}

func (s *benchStore) fill() {
	value := make([]byte, 256)
	s.apply(benchKeys, func(i int) error {
		_, err := s.w.Put(&PutOp{Key: benchKey(i), Value: value})
		return err
	})
}

func BenchmarkPut(b *testing.B) {
	value := make([]byte, 256)
	for i := range value {
		value[i] = byte(rand.Uint32())
	}
	for _, historyKeys := range []bool{false, true} {
		b.Run(fmt.Sprintf("historyTable=%v", historyKeys), func(b *testing.B) {
			s := newBenchStore(b)
			s.fill()
			rng := rand.New(rand.NewPCG(1, 2))
			b.ReportAllocs()
			b.ResetTimer()
			s.apply(b.N, func(int) error {
				key := benchKey(rng.IntN(benchKeys))
				if historyKeys { // the additional cost of an index by key and revision
					h := binary.BigEndian.AppendUint64(append([]byte{'h'}, key...), ^uint64(s.w.Revision()))
					if err := s.batch.Append(h, nil); err != nil {
						return err
					}
				}
				_, err := s.w.Put(&PutOp{Key: key, Value: value})
				return err
			})
		})
	}
}

// BenchmarkGetAt reads one key at a revision that lies a number of its own versions back.
func BenchmarkGetAt(b *testing.B) {
	for _, ago := range []int{0, 1, 100, 10_000} {
		b.Run(fmt.Sprintf("versionsAgo=%d", ago), func(b *testing.B) {
			s := newBenchStore(b)
			s.apply(20_000, func(i int) error {
				_, err := s.w.Put(&PutOp{Key: []byte("hot"), Value: benchKey(i)})
				return err
			})
			op := &RangeOp{KeyRange: kv.KeyRange{Key: []byte("hot")}, Revision: s.s.Head().Revision - int64(ago)}
			var c Collector
			b.ResetTimer()
			for range b.N {
				c.Reset()
				if _, err := s.s.Range(op, &c); err != nil || len(c.Keys) != 1 {
					b.Fatal(len(c.Keys), err)
				}
			}
		})
	}
}

// BenchmarkRange reads a list of 1,000 keys of 256 B.
func BenchmarkRange(b *testing.B) {
	s := newBenchStore(b)
	s.fill()
	op := &RangeOp{KeyRange: kv.KeyRange{Key: benchKey(20_000), End: benchKey(21_000)}}
	b.ReportAllocs()
	for b.Loop() {
		var sink sizeSink
		if _, err := s.s.Range(op, &sink); err != nil || sink.keys != 1000 {
			b.Fatal(sink, err)
		}
	}
}

// sizeSink counts keys and bytes.
type sizeSink struct{ keys, bytes int }

func (s *sizeSink) Add(key []byte, r *kv.Record) bool {
	s.keys++
	s.bytes += len(key) + len(r.Value)
	return true
}

func (s *sizeSink) Reset() { *s = sizeSink{} }

func BenchmarkCount(b *testing.B) {
	s := newBenchStore(b)
	s.fill()
	op := &RangeOp{KeyRange: kv.KeyRange{Key: benchKey(benchKeys / 10), End: benchKey(benchKeys * 9 / 10)}, CountOnly: true}
	var c Collector
	for range b.N {
		if sum, err := s.s.Range(op, &c); err != nil || sum.Count != benchKeys*8/10 {
			b.Fatal(sum, err)
		}
	}
}

// BenchmarkCompact compacts the history of as many overwrites as there are keys.
func BenchmarkCompact(b *testing.B) {
	value := make([]byte, 256)
	s := newBenchStore(b)
	s.fill()
	var spent time.Duration
	for range b.N {
		s.apply(benchKeys, func(i int) error {
			_, err := s.w.Put(&PutOp{Key: benchKey(i), Value: value})
			return err
		})
		began := time.Now()
		s.batch.Reset()
		if err := s.w.Begin(s.batch); err != nil {
			b.Fatal(err)
		}
		if err := s.w.Compact(s.w.Revision()); err != nil {
			b.Fatal(err)
		}
		if err := s.w.Finish(); err != nil {
			b.Fatal(err)
		}
		if err := s.batch.Commit(false); err != nil {
			b.Fatal(err)
		}
		s.w.Publish()
		spent += time.Since(began)
	}
	b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "ns/compaction")
}
