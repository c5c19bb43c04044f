package storage

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// commit sets keys to values, given in pairs.
func commit(t testing.TB, s *Store, pairs ...string) {
	t.Helper()
	b := s.NewBatch()
	for i := 0; i < len(pairs); i += 2 {
		b.Set([]byte(pairs[i]), []byte(pairs[i+1]))
	}
	if err := errors.Join(b.Commit(false), b.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestClone: a clone has its origin's view, within its own bounds, and outlives it.
func TestClone(t *testing.T) {
	s := openState(t, NewCrashableFS())
	defer s.Close() //nolint:errcheck // in memory
	commit(t, s, "a", "1", "b", "1", "c", "1", "d", "1")
	it := s.NewIter([]byte("a"), []byte("b"))
	if !it.First() {
		t.Fatal("the origin is empty")
	}
	commit(t, s, "a", "2", "b", "2", "bb", "2", "c", "2")
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	lower, upper := []byte("b"), []byte("d")
	c := it.Clone(lower, upper)
	clear(lower) // the bounds are copied
	clear(upper)
	if string(it.Key()) != "a" || string(it.Value()) != "1" || it.Next() {
		t.Error("cloning has moved the origin")
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for ok := c.First(); ok; ok = c.Next() {
		got = append(got, string(c.Key())+"="+string(c.Value()))
	}
	if want := []string{"b=1", "c=1"}; !slices.Equal(got, want) {
		t.Errorf("the clone has %v, want %v", got, want)
	}
	if err := errors.Join(c.Err(), c.Close(), c.Close()); err != nil {
		t.Error(err)
	}
}

// TestBoundsInWrongOrder: such a range is empty. Pebble's own checks, which the race detector
// enables, panic at such bounds.
func TestBoundsInWrongOrder(t *testing.T) {
	s := openState(t, NewCrashableFS())
	defer s.Close() //nolint:errcheck // in memory
	commit(t, s, "a", "1", "b", "1", "c", "1")
	it := s.NewIter([]byte("c"), []byte("a"))
	defer it.Close() //nolint:errcheck // where the test fails: closing the store waits for it
	c := it.Clone([]byte("c"), []byte("b"))
	defer c.Close() //nolint:errcheck // the same
	for _, it := range []*Iter{it, c} {
		if it.First() || it.Last() || it.SeekGE([]byte("a")) || it.SeekGE([]byte("c")) {
			t.Errorf("found %s", it.Key())
		}
		if err := it.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestIterTellsReadError: the error of reading a block, or a value, is returned by Err at once and
// by Close.
func TestIterTellsReadError(t *testing.T) {
	broken := errors.New("disk is broken")
	for _, suffix := range []string{".sst", ".blob"} {
		for _, over := range []string{"store", "batch"} {
			t.Run(over+suffix, func(t *testing.T) {
				var failing atomic.Bool
				fs := errorfs.Wrap(NewCrashableFS(), errorfs.InjectorFunc(func(op errorfs.Op) error {
					if failing.Load() && op.Kind == errorfs.OpFileReadAt && strings.HasSuffix(op.Path, suffix) {
						return broken
					}
					return nil
				}))
				po := baseOptions(Options{FS: fs}, 1<<20, 256<<10)
				po.DisableWAL = true
				po.Experimental.ValueSeparationPolicy = func() pebble.ValueSeparationPolicy {
					return pebble.ValueSeparationPolicy{Enabled: true, MinimumSize: 100, MaxBlobReferenceDepth: 4}
				}
				s, err := open("state", po, false)
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close() //nolint:errcheck // in memory
				b := s.NewBatch()
				defer b.Close() //nolint:errcheck // nothing in it
				big := strings.Repeat("x", 1000)
				commit(t, s, "a", big, "b", big)
				if err := s.Flush(); err != nil {
					t.Fatal(err)
				}
				failing.Store(true)
				var it interface {
					First() bool
					Next() bool
					Value() []byte
					Err() error
					Close() error
				} = s.NewIter(nil, nil)
				if over == "batch" {
					err = it.Close()
					it = b.Iter(nil, nil)
				}
				if err == nil && it.First() {
					if v := it.Value(); v != nil {
						t.Errorf("value %q of a broken disk", v)
					}
				}
				if it.Next() {
					t.Error("the walk goes on after the error")
				}
				if err := it.Err(); !errors.Is(err, broken) {
					t.Errorf("err: %v", err)
				}
				if i, ok := it.(*Iter); ok {
					c := i.Clone(nil, nil)
					if c.First() || !errors.Is(c.Err(), broken) || !errors.Is(c.Close(), broken) {
						t.Errorf("clone of a failed iterator: %v", c.Err())
					}
				}
				if err := it.Close(); !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "read store: ") {
					t.Errorf("close: %v", err)
				}
			})
		}
	}
}
