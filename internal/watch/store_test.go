package watch

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"cairn/internal/kv"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
)

// store is an applier: it publishes its writes to a hub, and records them in log.
type store struct {
	t     testing.TB
	db    *storage.Store
	keys  *mvcc.Store
	w     *mvcc.Writer
	b     *storage.Batch
	hub   *Hub
	log   []kv.Event
	floor int64 // compacted
}

func newStore(t testing.TB, limits Limits) *store {
	db, err := storage.OpenState("state", storage.Options{FS: storage.NewCrashableFS(), MemTableBytes: 4 << 20, CacheBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := mvcc.Open(db, mvcc.FirstRevision, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &store{t: t, db: db, keys: keys, w: keys.NewWriter(), b: db.NewBatch(), hub: New(keys, limits)}
	t.Cleanup(func() {
		if err := s.b.Close(); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *store) check(err error) {
	if err != nil {
		s.t.Error(err)
	}
}

// batch applies commands as one batch.
func (s *store) batch(commands ...func(w *mvcc.Writer)) {
	s.b.Reset()
	s.check(s.w.Begin(s.b))
	for _, c := range commands {
		s.w.Start()
		c(s.w)
		s.check(s.w.End())
	}
	s.commit()
}

func (s *store) commit() {
	s.check(s.w.Finish())
	s.check(s.b.Commit(false))
	s.w.Publish()
	for e := range s.w.Events() {
		s.log = append(s.log, *e)
	}
	s.hub.Publish(s.w.Events(), s.w.EventCount())
}

func (s *store) compact(rev int64) {
	s.b.Reset()
	s.check(s.w.Begin(s.b))
	s.check(s.w.Compact(rev))
	s.floor = rev
	s.commit()
}

func (s *store) put(key, value string) func(w *mvcc.Writer) {
	return func(w *mvcc.Writer) {
		_, err := w.Put(&mvcc.PutOp{Key: []byte(key), Value: []byte(value)})
		s.check(err)
	}
}

func (s *store) delete(key, end string) func(w *mvcc.Writer) {
	return func(w *mvcc.Writer) {
		op := mvcc.DeleteOp{KeyRange: kv.KeyRange{Key: []byte(key)}}
		if end != "" {
			op.End = []byte(end)
		}
		_, err := w.Delete(&op)
		s.check(err)
	}
}

// directory records the removal of a directory and of keys in it, as v2tree does.
func (s *store) directory(path string, keys ...string) func(w *mvcc.Writer) {
	return func(w *mvcc.Writer) {
		if err := w.ChangeDirectory(kv.EventDelete, kv.ActionDelete, []byte(path), kv.Record{}, kv.Record{Mod: kv.Revision{Main: 1}}); err != nil {
			panic(err)
		}
		for _, k := range keys {
			s.delete(k, "")(w)
		}
	}
}

const testKeys = 12

func keyName(i int) string { return fmt.Sprintf("k%02d", i) }

// write applies a random batch.
func (s *store) write(r *rand.Rand) {
	var commands []func(*mvcc.Writer)
	for range 1 + r.IntN(3) {
		a, b := r.IntN(testKeys), r.IntN(testKeys)
		switch r.IntN(5) {
		case 0:
			commands = append(commands, s.delete(keyName(min(a, b)), keyName(max(a, b)+1)))
		case 1:
			commands = append(commands, func(w *mvcc.Writer) { // a transaction
				s.put(keyName(a), "x")(w)
				if a != b {
					s.put(keyName(b), "y")(w)
				}
			})
		case 2:
			commands = append(commands, s.directory(keyName(a), keyName(b)))
		default:
			commands = append(commands, s.put(keyName(a), fmt.Sprint(r.IntN(1000))))
		}
	}
	s.batch(commands...)
}

func randomRange(r *rand.Rand) kv.KeyRange {
	a, b := r.IntN(testKeys), r.IntN(testKeys)
	switch r.IntN(4) {
	case 0:
		return kv.KeyRange{Key: []byte(keyName(a)), End: []byte{0}}
	case 1:
		return kv.KeyRange{Key: []byte(keyName(min(a, b))), End: []byte(keyName(max(a, b) + 1))}
	default:
		return kv.KeyRange{Key: []byte(keyName(a))}
	}
}
