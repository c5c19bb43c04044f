package storage

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
)

func fill(t testing.TB, s *Store, from, to int, value string) {
	t.Helper()
	b := s.NewBatch()
	defer b.Close() //nolint:errcheck // holds memory only
	for i := from; i < to; i++ {
		b.Set(fmt.Appendf(nil, "c%05d", i), []byte(value))
	}
	if err := b.Commit(false); err != nil {
		t.Fatal(err)
	}
}

func viewContents(t *testing.T, v *View) map[string]string {
	t.Helper()
	out := map[string]string{}
	it := v.Iter(nil, nil)
	for ok := it.First(); ok; ok = it.Next() {
		out[string(it.Key())] = string(it.Value())
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return out
}

// tablesOf builds finished tables of some keys.
func tablesOf(t *testing.T, s *Store, dir string, n int, value string) *Tables {
	t.Helper()
	tables, err := s.NewTables(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := tables.Add(fmt.Appendf(nil, "c%05d", i), []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tables.Finish(); err != nil {
		t.Fatal(err)
	}
	return tables
}

func TestViewKeepsWhatItSaw(t *testing.T) {
	fs := NewCrashableFS()
	s := openState(t, fs)
	fill(t, s, 0, 100, "old")
	v, err := s.NewView()
	if err != nil {
		t.Fatal(err)
	}
	want := contents(t, s)
	fill(t, s, 50, 200, "new")
	if err := s.Replace(tablesOf(t, s, "received", 10, "replaced")); err != nil {
		t.Fatal(err)
	}
	if got := viewContents(t, v); !maps.Equal(got, want) {
		t.Errorf("the view has %d keys that differ from the %d of its moment", len(got), len(want))
	}
	if got, err := v.Get([]byte("c00050")); err != nil || string(got) != "old" {
		t.Errorf("Get: %q, %v", got, err)
	}
	if _, err := v.Get([]byte("c00150")); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get of a key that was written later: %v", err)
	}
	if err := errors.Join(v.Close(), v.Close()); err != nil {
		t.Error(err)
	}
	if _, err := v.Get([]byte("c00050")); !errors.Is(err, ErrClosed) {
		t.Errorf("Get of a closed view: %v", err)
	}
	if got := contents(t, s); len(got) != 10 || got["c00003"] != "replaced" {
		t.Errorf("the store has %d keys, want the 10 replaced ones", len(got))
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestCloseEndsViews(t *testing.T) {
	s := openState(t, NewCrashableFS())
	fill(t, s, 0, 10, "x")
	v, err := s.NewView()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	it := v.Iter(nil, nil)
	if it.First() || !errors.Is(it.Close(), ErrClosed) {
		t.Error("a view of a closed store can be read")
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.NewView(); !errors.Is(err, ErrClosed) {
		t.Errorf("a view of a closed store: %v", err)
	}
}

func TestReplace(t *testing.T) {
	fs := NewCrashableFS()
	s := openState(t, fs)
	fill(t, s, 0, 1000, "old")
	it := s.NewIter(nil, nil)
	tables := tablesOf(t, s, "received/1", 500, strings.Repeat("n", 100))
	if tables.Bytes() == 0 {
		t.Error("the tables have no size")
	}
	if err := s.Replace(tables); err != nil {
		t.Fatal(err)
	}
	if left, err := fs.List("received/1"); err == nil {
		t.Errorf("%q are left", left)
	}
	if err := s.Replace(tables); err == nil {
		t.Error("the tables could be used twice")
	}
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	if err := it.Close(); err != nil || n != 1000 {
		t.Errorf("an iterator from before has %d keys, %v", n, err)
	}
	// It is durable without a flush, and later writes apply on top of it.
	crashed := openState(t, fs.Crash(0, nil))
	if got := contents(t, crashed); len(got) != 500 {
		t.Errorf("after a crash there are %d keys, want 500", len(got))
	}
	if err := crashed.Close(); err != nil {
		t.Error(err)
	}
	fill(t, s, 499, 501, "later")
	if got := contents(t, s); len(got) != 501 || got["c00499"] != "later" || len(got["c00498"]) != 100 {
		t.Errorf("%d keys after another write", len(got))
	}
	if err := s.Replace(tablesOf(t, s, "received/2", 0, "")); err != nil {
		t.Fatal(err)
	}
	if got := contents(t, s); len(got) != 0 {
		t.Errorf("%d keys after all were replaced by none", len(got))
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestTablesRefuseDisorder(t *testing.T) {
	s := openState(t, NewCrashableFS())
	defer s.Close() //nolint:errcheck // in memory
	tables, err := s.NewTables("received")
	if err != nil {
		t.Fatal(err)
	}
	if err := tables.Add([]byte("cb"), nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Replace(tables); err == nil {
		t.Error("unfinished tables were accepted")
	}
	if err := tables.Add([]byte("ca"), nil); err == nil {
		t.Error("a lower key was accepted")
	}
	if err := tables.Finish(); err == nil {
		t.Error("tables with an error could be finished")
	}
	if err := tables.Discard(); err != nil {
		t.Error(err)
	}
	if err := RemoveTables(nil, t.TempDir()+"/not there"); err != nil {
		t.Error(err)
	}
}
