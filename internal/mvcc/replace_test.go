package mvcc

import (
	"errors"
	"testing"

	"cairn/internal/kv"
	"cairn/internal/storage"
)

// hookedFS calls a function before it removes a directory: Replace removes one when the store is
// replaced already, and the head not yet.
type hookedFS struct {
	storage.FS
	onRemove func()
}

func (fs *hookedFS) RemoveAll(name string) error {
	if fs.onRemove != nil {
		fs.onRemove()
	}
	return fs.FS.RemoveAll(name)
}

func commitPuts(t *testing.T, db *storage.Store, s *Store, changes ...func(*Writer)) {
	t.Helper()
	w := s.NewWriter()
	b := db.NewBatch()
	defer b.Close() //nolint:errcheck // holds memory only
	if err := w.Begin(b); err != nil {
		t.Fatal(err)
	}
	for _, change := range changes {
		change(w)
	}
	if err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(false); err != nil {
		t.Fatal(err)
	}
	w.Publish()
}

// TestReadInsideReplacement reads at the one moment at which store and head do not match: with the
// old head over the new store, in which a key is missing because its tombstone was swept.
func TestReadInsideReplacement(t *testing.T) {
	open := func(fs storage.FS) (*storage.Store, *Store) {
		db, err := storage.OpenState("state", storage.Options{FS: fs, CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		s, err := Open(db, FirstRevision, 0)
		if err != nil {
			t.Fatal(err)
		}
		return db, s
	}
	command := func(do func(*Writer) error) func(*Writer) {
		return func(w *Writer) {
			w.Start()
			if err := errors.Join(do(w), w.End()); err != nil {
				t.Fatal(err)
			}
		}
	}
	key := kv.KeyRange{Key: []byte("k")}
	put := command(func(w *Writer) error { _, err := w.Put(&PutOp{Key: key.Key, Value: []byte("v")}); return err })
	del := command(func(w *Writer) error { _, err := w.Delete(&DeleteOp{KeyRange: key}); return err })
	fs := &hookedFS{FS: storage.NewCrashableFS()}
	db, s := open(fs)
	commitPuts(t, db, s, put) // revision 2
	afterDB, after := open(storage.NewCrashableFS())
	commitPuts(t, afterDB, after, put, del, put, del, func(w *Writer) {
		if err := w.Compact(5); err != nil {
			t.Fatal(err)
		}
	})
	w := after.NewWriter()
	if _, err := w.SweepTombstones(10); err != nil {
		t.Fatal(err)
	}
	tables, err := db.NewTables("received")
	if err != nil {
		t.Fatal(err)
	}
	it := afterDB.NewIter(nil, nil)
	for ok := it.First(); ok; ok = it.Next() {
		if err := tables.Add(it.Key(), it.Value()); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(it.Close(), tables.Finish()); err != nil {
		t.Fatal(err)
	}
	old := s.Head()
	result := make(chan error, 1)
	called := false
	fs.onRemove = func() {
		called = true
		all := kv.KeyRange{Key: []byte{0}, End: []byte{0}}
		for _, r := range []kv.KeyRange{key, all} {
			var c Collector
			if sum, err := s.RangeAt(old, &RangeOp{KeyRange: r}, &c); !errors.Is(err, ErrOvertaken) {
				t.Errorf("the old head over the new store: %d keys, %v; want %v", sum.Count, err, ErrOvertaken)
			}
		}
		// A read that begins now waits, and reads the new state.
		go func() {
			var c Collector
			sum, err := s.Range(&RangeOp{KeyRange: key}, &c)
			if err == nil && (sum.Revision != 5 || sum.Count != 0) {
				err = errors.New("a read begun inside sees the old revision, or the key")
			}
			result <- err
		}()
	}
	r := s.BeginReplace()
	if err := db.Replace(tables); err != nil {
		t.Fatal(err)
	}
	if err := r.Publish(5, 5); err != nil {
		t.Fatal(err)
	}
	r.Done()
	if !called {
		t.Fatal("no read ran inside the replacement")
	}
	if err := <-result; err != nil {
		t.Error(err)
	}
	var c Collector
	if _, err := s.Range(&RangeOp{KeyRange: key, Revision: 2}, &c); !errors.Is(err, ErrCompacted) {
		t.Errorf("a revision that the new store has compacted: %v", err)
	}
	back := s.BeginReplace()
	if err := back.Publish(4, 0); err == nil {
		t.Error("a revision that goes back was published")
	}
	back.Done()
	fs.onRemove = nil
	if err := errors.Join(db.Close(), afterDB.Close()); err != nil {
		t.Error(err)
	}
}
