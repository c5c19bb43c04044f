package storage

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"pgregory.net/rapid"
)

func openState(t interface{ Fatal(...any) }, fs FS) *Store {
	s, err := OpenState("state", Options{FS: fs, CacheBytes: 1 << 20, MemTableBytes: 256 << 10})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// contents returns all key-values of a store.
func contents(t interface{ Fatal(...any) }, s *Store) map[string]string {
	out := map[string]string{}
	it := s.NewIter(nil, nil)
	for ok := it.First(); ok; ok = it.Next() {
		out[string(it.Key())] = string(it.Value())
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return out
}

// batchModel is the simplest possible batch over a store.
type batchModel struct {
	stored   map[string]string
	own      map[string]*string // by Set, or nil by Delete
	appended []func(map[string]string)
	mark     map[string]*string
}

// sees returns what the batch reads: the store with the batch's own changes, except those of
// Append, Remove and DeleteRange.
func (m *batchModel) sees() map[string]string {
	out := maps.Clone(m.stored)
	apply(out, m.own)
	return out
}

func apply(to map[string]string, changes map[string]*string) {
	for k, v := range changes {
		if v == nil {
			delete(to, k)
		} else {
			to[k] = *v
		}
	}
}

func (m *batchModel) commit() {
	for _, f := range m.appended {
		f(m.stored)
	}
	apply(m.stored, m.own)
	m.reset()
}

func (m *batchModel) reset() { m.own, m.appended, m.mark = map[string]*string{}, nil, nil }

// TestBatch runs random operations on a batch and on the model, and compares what
// both read. Set and Delete work on keys that begin with 'k'; Append, Remove and
// DeleteRange on keys that begin with 'r'.
func TestBatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := openState(t, NewCrashableFS())
		defer s.Close() //nolint:errcheck // in memory
		b := s.NewBatch()
		b.keep = rapid.IntRange(0, 10).Draw(t, "keep")
		m := &batchModel{stored: map[string]string{}}
		m.reset()
		key := func(table string) []byte { return []byte(fmt.Sprint(table, rapid.IntRange(0, 9).Draw(t, "key"))) }
		n := 0
		fail := func(format string, args ...any) { t.Fatalf(format, args...) }
		actions := map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				n++
				k, v := key("k"), fmt.Sprint(n)
				b.Set(k, []byte(v))
				m.own[string(k)] = &v
				clear(k) // the key is copied
			},
			"delete": func(t *rapid.T) {
				k := key("k")
				b.Delete(k)
				m.own[string(k)] = nil
			},
			"append": func(t *rapid.T) {
				if m.mark != nil {
					t.Skip("not inside a mark")
				}
				n++
				k, v := string(key("r")), fmt.Sprint(n)
				if err := b.Append([]byte(k), []byte(v)); err != nil {
					fail("append: %v", err)
				}
				m.appended = append(m.appended, func(to map[string]string) { to[k] = v })
			},
			"remove": func(t *rapid.T) {
				if m.mark != nil {
					t.Skip("not inside a mark")
				}
				k := string(key("r"))
				if err := b.Remove([]byte(k)); err != nil {
					fail("remove: %v", err)
				}
				m.appended = append(m.appended, func(to map[string]string) { delete(to, k) })
			},
			"delete range": func(t *rapid.T) {
				if m.mark != nil {
					t.Skip("not inside a mark")
				}
				from, to := key("r"), key("r")
				if err := b.DeleteRange(from, to); err != nil {
					fail("delete range: %v", err)
				}
				m.appended = append(m.appended, func(in map[string]string) {
					maps.DeleteFunc(in, func(k, _ string) bool { return k >= string(from) && k < string(to) })
				})
			},
			"mark": func(t *rapid.T) {
				b.Mark()
				m.mark = maps.Clone(m.own)
			},
			"release": func(t *rapid.T) {
				b.Release()
				m.mark = nil
			},
			"rollback": func(t *rapid.T) {
				if m.mark == nil {
					t.Skip("no mark")
				}
				b.Rollback()
				m.own, m.mark = m.mark, nil
			},
			// A command that reads its own writes, and fails: it may use the same keys again.
			"failed command": func(t *rapid.T) {
				if m.mark != nil {
					t.Skip("inside a mark")
				}
				before := maps.Clone(m.own)
				b.Mark()
				for range rapid.IntRange(1, 3).Draw(t, "keys") {
					k, v := key("k"), "undone"
					b.Set(k, []byte(v))
					m.own[string(k)] = &v
				}
				if rapid.Bool().Draw(t, "read") {
					checkBatchIter(t, b, m.sees(), key)
				}
				b.Rollback()
				m.own = before
			},
			"commit": func(t *rapid.T) {
				if m.mark != nil {
					t.Skip("inside a mark")
				}
				if err := b.Commit(rapid.Bool().Draw(t, "sync")); err != nil {
					fail("commit: %v", err)
				}
				b.Reset()
				m.commit()
				if got := contents(t, s); !maps.Equal(got, m.stored) {
					fail("store has %v, want %v", got, m.stored)
				}
			},
			"reset": func(t *rapid.T) {
				b.Reset()
				m.reset()
			},
			"lend": func(t *rapid.T) {
				k := key("k")
				want, ok := m.sees()[string(k)]
				v, closer, err := b.Lend(k)
				if ok != (err == nil) || ok && string(v) != want || !ok && !errors.Is(err, ErrNotFound) {
					fail("lend %s: %q, %v, want %q, %v", k, v, err, want, ok)
				}
				if closer != nil {
					if err := closer.Close(); err != nil {
						fail("close: %v", err)
					}
				}
				_, own := m.own[string(k)]
				if _, _, changed := b.Own(k); changed != own {
					fail("changed %s: %v, want %v", k, changed, own)
				}
			},
			"": func(t *rapid.T) {
				// Not always: keys that are added between two iterators are merged.
				if rapid.Bool().Draw(t, "iter") {
					checkBatchIter(t, b, m.sees(), key)
				}
			},
		}
		t.Repeat(actions)
		if err := b.Close(); err != nil {
			fail("close: %v", err)
		}
	})
}

// checkBatchIter walks a part of the batch's view, from its start and from some key.
func checkBatchIter(t *rapid.T, b *Batch, sees map[string]string, key func(string) []byte) {
	lower, upper := key("k"), key("k")
	if rapid.Bool().Draw(t, "open end") {
		upper = nil
	}
	var want []string
	for _, k := range slices.Sorted(maps.Keys(sees)) {
		if k >= string(lower) && (upper == nil || k < string(upper)) {
			want = append(want, k+"="+sees[k])
		}
	}
	walk := func(it *BatchIter, ok bool) (got []string) {
		for ; ok; ok = it.Next() {
			got = append(got, string(it.Key())+"="+string(it.Value()))
		}
		return got
	}
	it := b.Iter(lower, upper)
	defer it.Close() //nolint:errcheck // where the test fails: closing the store waits for it
	if got := walk(it, it.First()); !slices.Equal(got, want) {
		t.Fatalf("[%s, %s): %v, want %v", lower, upper, got, want)
	}
	from := key("k")
	at, _ := slices.BinarySearch(want, string(from))
	if got := walk(it, it.SeekGE(from)); !slices.Equal(got, want[at:]) {
		t.Fatalf("[%s, %s) from %s: %v, want %v", lower, upper, from, got, want[at:])
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestBatchOrderIsCheap: keys added after an iterator, and a rollback of them, cost no more than
// sorting them, regardless of their number and order. With an insertion for each key these would
// take minutes.
func TestBatchOrderIsCheap(t *testing.T) {
	s := openState(t, NewCrashableFS())
	defer s.Close() //nolint:errcheck // in memory
	b := s.NewBatch()
	defer b.Close() //nolint:errcheck // in memory
	const n = 200_000
	count := func(want int) {
		t.Helper()
		it := b.Iter(nil, nil)
		got := 0
		for ok := it.First(); ok; ok = it.Next() {
			got++
		}
		if err := it.Close(); err != nil || got != want {
			t.Fatalf("%d keys, %v, want %d", got, err, want)
		}
	}
	for _, end := range []struct {
		name string
		do   func()
		keys int
	}{{"rollback", b.Rollback, 1}, {"release", b.Release, n + 1}} {
		b.Set([]byte("first"), nil)
		count(1)
		b.Mark()
		for i := range n {
			b.Set(fmt.Appendf(nil, "%08d", n-i), nil)
		}
		count(n + 1)
		end.do()
		count(end.keys)
	}
}

// TestKeyComesAgain: a key that was rolled back and set again occurs once, wherever its first entry
// was.
func TestKeyComesAgain(t *testing.T) {
	s := openState(t, NewCrashableFS())
	defer s.Close() //nolint:errcheck // in memory
	b := s.NewBatch()
	defer b.Close() //nolint:errcheck // in memory
	keys := func() (got []string) {
		it := b.Iter(nil, nil)
		for ok := it.First(); ok; ok = it.Next() {
			got = append(got, string(it.Key()))
		}
		if err := it.Close(); err != nil {
			t.Fatal(err)
		}
		return got
	}
	for _, between := range []func(){func() {}, func() { keys() }} {
		b.Reset()
		b.Set([]byte("b"), nil)
		keys()
		for range 3 {
			b.Mark()
			b.Set([]byte("c"), nil)
			b.Set([]byte("a"), nil)
			between()
			b.Rollback()
		}
		b.Set([]byte("a"), nil)
		if got := keys(); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("the batch has %v", got)
		}
	}
}

// TestRollbacksLeaveNothing: commands that fail repeatedly do not fill the batch.
func TestRollbacksLeaveNothing(t *testing.T) {
	s := openState(t, NewCrashableFS())
	defer s.Close() //nolint:errcheck // in memory
	b := s.NewBatch()
	defer b.Close() //nolint:errcheck // in memory
	b.keep = 100
	for i := range 1000 {
		if i%7 == 0 {
			if err := b.Iter(nil, nil).Close(); err != nil {
				t.Fatal(err)
			}
		}
		b.Mark()
		for j := range 10 {
			b.Set(fmt.Appendf(nil, "%d", 10*i+j), nil)
		}
		b.Rollback()
		if names := len(b.sorted) + len(b.tail); names > 100 {
			t.Fatalf("%d names of no key after %d rollbacks", names, i+1)
		}
	}
}

// TestUndoableOnly: inside a span a batch accepts only what Rollback can undo; after it, however it
// ended, anything.
func TestUndoableOnly(t *testing.T) {
	s := openState(t, NewCrashableFS())
	defer s.Close() //nolint:errcheck // in memory
	k := []byte("r")
	for name, write := range map[string]func(*Batch) error{
		"Append":      func(b *Batch) error { return b.Append(k, k) },
		"DeleteRange": func(b *Batch) error { return b.DeleteRange(k, []byte("s")) },
		"Remove":      func(b *Batch) error { return b.Remove(k) },
	} {
		b := s.NewBatch()
		for _, end := range []func(){b.Release, b.Rollback, b.Reset} {
			b.Mark()
			empty := b.Bytes()
			func() {
				defer func() {
					if r := fmt.Sprint(recover()); !strings.Contains(r, name+" between Mark and Release") {
						t.Errorf("%s inside a mark: %s", name, r)
					}
				}()
				_ = write(b)
			}()
			if b.Bytes() != empty {
				t.Errorf("%s inside a mark has written", name)
			}
			end()
			if err := write(b); err != nil {
				t.Errorf("%s after a mark: %v", name, err)
			}
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestResetForgetsSize: a batch that was huge once becomes as cheap as a new one, and other batches
// keep their memory.
func TestResetForgetsSize(t *testing.T) {
	s := openState(t, NewCrashableFS())
	defer s.Close() //nolint:errcheck // in memory
	set := func(b *Batch, n int) {
		for i := range n {
			b.Set(fmt.Appendf(nil, "%d", i), nil)
		}
	}
	for _, tc := range []struct {
		name string
		fill func(b *Batch)
		kept bool
	}{
		{"small", func(b *Batch) { set(b, 50) }, true},
		{"small, read", func(b *Batch) { b.order(); b.Mark(); set(b, 50); b.order() }, true},
		{"huge", func(b *Batch) { set(b, 1000) }, false},
		{"huge, read", func(b *Batch) { set(b, 1000); b.order() }, false},
		{"huge, read while small", func(b *Batch) { b.order(); b.Mark(); set(b, 1000) }, false},
		{"huge, rolled back", func(b *Batch) { b.Mark(); set(b, 1000); b.Rollback() }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := s.NewBatch()
			defer b.Close() //nolint:errcheck // in memory
			b.keep = 100
			room := reflect.ValueOf(b.pending).Pointer()
			tc.fill(b)
			b.Reset()
			if kept := reflect.ValueOf(b.pending).Pointer() == room; kept != tc.kept {
				t.Errorf("the map is kept: %v", kept)
			}
			if n := max(cap(b.sorted), cap(b.tail), cap(b.journal)); n > b.keep {
				t.Errorf("memory for %d is kept", n)
			}
			if len(b.pending)+len(b.sorted)+len(b.tail)+len(b.journal) > 0 {
				t.Error("the batch is not empty")
			}
			room = reflect.ValueOf(b.pending).Pointer()
			set(b, 50)
			b.Reset()
			if reflect.ValueOf(b.pending).Pointer() != room {
				t.Error("the next batch has made a map again")
			}
		})
	}
}

// TestGetDurable: only flushed values are returned, and they survive a crash.
func TestGetDurable(t *testing.T) {
	fs := NewCrashableFS()
	s := openState(t, fs)
	root, err := fs.OpenDir("/")
	if err := errors.Join(err, root.Sync(), root.Close()); err != nil {
		t.Fatal(err)
	}
	key := []byte("position")
	set := func(v string) {
		b := s.NewBatch()
		b.Set(key, []byte(v))
		b.Set([]byte("data"), []byte(v))
		if err := errors.Join(b.Commit(true), b.Close()); err != nil {
			t.Fatal(err)
		}
	}
	durable := func(want string) {
		t.Helper()
		v, err := s.GetDurable(key, []byte("kept "))
		if want == "" && errors.Is(err, ErrNotFound) && string(v) == "kept " {
			return
		}
		if err != nil || string(v) != "kept "+want {
			t.Errorf("durable %q, %v, want %q", v, err, want)
		}
	}
	durable("")
	set("1")
	durable("")
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	durable("1")
	set("2")
	set("3")
	durable("1")
	if v, err := s.Get(key, nil); err != nil || string(v) != "3" {
		t.Errorf("present value %q, %v", v, err)
	}
	disk := fs.Crash(0, rand.New(rand.NewPCG(1, 1)))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openState(t, disk)
	defer s.Close() //nolint:errcheck // in memory
	if got := contents(t, s); !maps.Equal(got, map[string]string{"position": "1", "data": "1"}) {
		t.Errorf("after the crash: %v", got)
	}
}

// TestFlushTellsWhenDurable: when OnFlush is called, GetDurable returns the flushed values.
func TestFlushTellsWhenDurable(t *testing.T) {
	flushed := make(chan struct{}, 1)
	s, err := OpenState("state", Options{FS: NewCrashableFS(), OnFlush: func() {
		select {
		case flushed <- struct{}{}:
		default:
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // in memory
	b := s.NewBatch()
	b.Set([]byte("a"), []byte("1"))
	if err := errors.Join(b.Commit(false), b.Close(), s.StartFlush()); err != nil {
		t.Fatal(err)
	}
	<-flushed
	if v, err := s.GetDurable([]byte("a"), nil); err != nil || string(v) != "1" {
		t.Errorf("durable %q, %v", v, err)
	}
}

// TestLogIsDurable: a synced commit of the log store survives any crash; an unsynced one
// survives with the next synced one, or not at all.
func TestLogIsDurable(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		fs := NewCrashableFS()
		s, err := OpenLog("log", Options{FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		root, err := fs.OpenDir("/")
		if err := errors.Join(err, root.Sync(), root.Close()); err != nil {
			t.Fatal(err)
		}
		synced, last := 0, 0
		for range 1 + rng.IntN(30) {
			last++
			b := s.NewBatch()
			sync := rng.IntN(3) == 0
			a, z := fmt.Sprintf("a%03d", last), fmt.Sprintf("z%03d", last)
			err := errors.Join(b.Append([]byte(a), make([]byte, rng.IntN(3000))), b.Append([]byte(z), nil), b.Commit(sync), b.Close())
			if err != nil {
				t.Fatal(err)
			}
			if sync {
				synced = last
			}
		}
		disk := fs.Crash([]int{0, 50, 100}[seed%3], rng)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = OpenLog("log", Options{FS: disk}); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		got := logContents(t, s)
		n := 0
		for ; ; n++ {
			_, a := got[fmt.Sprintf("a%03d", n+1)]
			_, z := got[fmt.Sprintf("z%03d", n+1)]
			if a != z {
				t.Fatalf("seed %d: half of batch %d", seed, n+1)
			}
			if !a {
				break
			}
		}
		if n < synced || len(got) != 2*n {
			t.Errorf("seed %d: %d batches and %d keys are there, %d were synced, %d written", seed, n, len(got), synced, last)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFailedSync: when the disk cannot sync, the commit must fail.
func TestFailedSync(t *testing.T) {
	broken := errors.New("disk is broken")
	failing := false
	fs := errorfs.Wrap(NewCrashableFS(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if failing && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo) {
			return broken
		}
		return nil
	}))
	s, err := OpenLog("log", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	b := s.NewBatch()
	if err := errors.Join(b.Append([]byte("a"), nil), b.Commit(true)); err != nil {
		t.Fatal(err)
	}
	b.Reset()
	failing = true
	if err := errors.Join(b.Append([]byte("b"), nil), b.Commit(true)); err == nil {
		t.Fatal("a commit succeeded that could not be synced")
	} else {
		t.Log(err)
	}
	// The member closes its stores even if they failed.
	if err := s.Close(); err != nil {
		t.Log(err)
	}
}

var _ vfs.FS = CrashableFS{}
