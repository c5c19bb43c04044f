package mvcc

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"cairn/internal/kv"
	"cairn/internal/storage"
)

// history is a history in memory.
type memoryHistory []KeyRecord

// Changes implements History.
func (h memoryHistory) Changes(visit func(key []byte, r *kv.Record) error) error {
	for i := range h {
		r := h[i].Record
		if err := visit(h[i].Key, &r); err != nil {
			return err
		}
	}
	return nil
}

// Value implements History.
func (h memoryHistory) Value(rev kv.Revision) ([]byte, error) {
	for i := range h {
		if h[i].Record.Mod == rev {
			return h[i].Record.Value, nil
		}
	}
	return nil, fmt.Errorf("no value at %v", rev)
}

// randomHistory returns puts and deletes of a few keys, several of them at some revisions and none
// at others.
func randomHistory(rng *rand.Rand, n int) (h memoryHistory) {
	newest := map[string]kv.Record{}
	main, sub := int64(FirstRevision), int64(0)
	touched := map[string]bool{}
	for len(h) < n {
		if main == FirstRevision || rng.IntN(3) > 0 {
			main, sub = main+1+int64(rng.IntN(8)/7), 0
			clear(touched)
		}
		key := fmt.Sprintf("%sk%d", []string{"", "/"}[rng.IntN(2)], rng.IntN(8))
		old, exists := newest[key]
		if touched[key] {
			continue
		}
		touched[key] = true
		r := kv.Record{Mod: kv.Revision{Main: main, Sub: sub}, CreateRevision: main, Version: 1, Lease: kv.LeaseID(rng.IntN(3))}
		switch live := exists && !old.Deleted; {
		case live && rng.IntN(5) == 0:
			r = kv.Record{Mod: r.Mod, Deleted: true}
		case live:
			r.CreateRevision, r.Version = old.CreateRevision, old.Version+1
		}
		if !r.Deleted {
			r.Value = fmt.Appendf(nil, "value %d of %s", len(h), key)
		}
		newest[key] = r
		h, sub = append(h, KeyRecord{Key: []byte(key), Record: r}), sub+1
	}
	return h
}

// content returns the records of the tables that a history determines.
func content(t *testing.T, db *storage.Store) string {
	t.Helper()
	var b strings.Builder
	for _, table := range []storage.Table{storage.TableCurrent, storage.TableLeaseKeys, storage.TableRevisions, storage.TableTombstones} {
		it := db.NewIter([]byte{byte(table)}, []byte{byte(table) + 1})
		for ok := it.First(); ok; ok = it.Next() {
			fmt.Fprintf(&b, "%q %q\n", it.Key(), it.Value())
		}
		if err := it.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// replayed makes a store by replaying a history change by change.
func replayed(t *testing.T, h memoryHistory, compact int64) string {
	t.Helper()
	db := openStore(t)
	first := 0
	if compact > FirstRevision {
		base, newest := NewBase(db), map[string]*kv.Record{}
		for ; first < len(h) && h[first].Record.Mod.Main <= compact; first++ {
			newest[string(h[first].Key)] = &h[first].Record
		}
		for key, r := range newest {
			if !r.Deleted {
				check(t, base.Set([]byte(key), r))
			}
		}
		check(t, base.Finish(compact))
	}
	s, err := Open(db, max(compact, FirstRevision), compact)
	check(t, err)
	w, b := s.NewWriter(), db.NewBatch()
	check(t, w.Begin(b))
	for at := max(compact, FirstRevision); first < len(h); {
		at++
		w.Start()
		if h[first].Record.Mod.Main > at {
			w.Advance()
		}
		for ; first < len(h) && h[first].Record.Mod.Main == at; first++ {
			check(t, w.Replay(h[first].Key, h[first].Record))
		}
		check(t, w.End())
	}
	check(t, errors.Join(w.Finish(), b.Commit(false)))
	w.Publish()
	check(t, b.Close())
	return content(t, db)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openStore(t *testing.T) *storage.Store {
	t.Helper()
	db, err := storage.OpenState("state", storage.Options{FS: storage.NewCrashableFS()})
	check(t, err)
	t.Cleanup(func() { check(t, db.Close()) })
	return db
}

// build makes a store with a Builder, and checks its tables against each other.
func build(t *testing.T, h memoryHistory, compact int64) (string, error) {
	t.Helper()
	fs := storage.NewCrashableFS()
	db, err := storage.OpenState("state", storage.Options{FS: fs})
	check(t, err)
	defer func() { check(t, db.Close()) }()
	tables, err := db.NewTables("tables")
	check(t, err)
	tables.WriteInBackground()
	b := NewBuilder(fs, "sorted", h, compact)
	revision, err := b.Read()
	for _, write := range []func(func(key, value []byte) error) error{b.WriteKeys, b.WriteCounts, b.WriteHistory, b.WriteTombstones} {
		if err == nil {
			err = write(tables.Add)
		}
	}
	check(t, b.Close())
	if err != nil {
		check(t, tables.Discard())
		return "", err
	}
	check(t, errors.Join(tables.Finish(), db.Replace(tables)))
	s, err := Open(db, revision, max(compact, 0))
	check(t, err)
	if _, err := s.Verify(); err != nil {
		t.Error(err)
	}
	return content(t, db), nil
}

// TestBuilderEqualsReplay: a Builder writes the same bytes as a Writer that replays the history.
func TestBuilderEqualsReplay(t *testing.T) {
	for seed := range uint64(20) {
		h := randomHistory(rand.New(rand.NewPCG(1, seed)), 300)
		for _, compact := range []int64{0, h[len(h)/3].Record.Mod.Main, h[len(h)-1].Record.Mod.Main} {
			got, err := build(t, h, compact)
			if err != nil {
				t.Fatalf("seed %d, compacted at %d: %v", seed, compact, err)
			}
			if want := replayed(t, h, compact); got != want {
				a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
				i := 0
				for i < min(len(a), len(b)) && a[i] == b[i] {
					i++
				}
				t.Fatalf("seed %d, compacted at %d: record %d is\n%s\nwant\n%s", seed, compact, i, a[min(i, len(a)-1)], b[min(i, len(b)-1)])
			}
		}
	}
}

// TestBuilderRefuses: histories that contradict themselves are errors.
func TestBuilderRefuses(t *testing.T) {
	put := func(key string, main, sub, create, version int64) KeyRecord {
		return KeyRecord{Key: []byte(key), Record: kv.Record{Mod: kv.Revision{Main: main, Sub: sub}, CreateRevision: create, Version: version}}
	}
	del := func(key string, main int64) KeyRecord {
		return KeyRecord{Key: []byte(key), Record: kv.Record{Mod: kv.Revision{Main: main}, Deleted: true}}
	}
	for name, h := range map[string]memoryHistory{
		"a revision again":       {put("a", 2, 0, 2, 1), put("b", 2, 0, 2, 1)},
		"a sub is missing":       {put("a", 2, 0, 2, 1), put("b", 2, 2, 2, 1)},
		"begins with a sub":      {put("a", 2, 1, 2, 1)},
		"a large gap":            {put("a", 2, 0, 2, 1), put("a", 2+HistoryGapMax+1, 0, 2, 2)},
		"delete of no key":       {del("a", 2)},
		"deleted twice":          {put("a", 2, 0, 2, 1), del("a", 3), del("a", 4)},
		"wrong version":          {put("a", 2, 0, 2, 1), put("a", 3, 0, 2, 3)},
		"wrong create revision":  {put("a", 2, 0, 2, 1), put("a", 3, 0, 3, 2)},
		"version after a delete": {put("a", 2, 0, 2, 1), del("a", 3), put("a", 4, 0, 2, 2)},
	} {
		if _, err := build(t, h, 0); !errors.Is(err, ErrHistory) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestBuilderManyKeys: blocks of the count index are as large as after a division.
func TestBuilderManyKeys(t *testing.T) {
	var h memoryHistory
	for i := range int64(1000) {
		h = append(h, KeyRecord{Key: fmt.Appendf(nil, "%04d", (i*7)%1000), Record: kv.Record{
			Mod: kv.Revision{Main: 2 + i}, CreateRevision: 2 + i, Version: 1, Value: bytes.Repeat([]byte{'v'}, 200),
		}})
	}
	if _, err := build(t, h, 0); err != nil { // which verifies the counts
		t.Error(err)
	}
}
