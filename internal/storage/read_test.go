package storage

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"
)

// closing starts to close a store and returns once it refuses reads.
func closing(s *Store) <-chan error {
	done := make(chan error, 1)
	go func() { done <- s.Close() }()
	for s.readers.n.Load() >= 0 {
		runtime.Gosched()
	}
	return done
}

// TestCloseWaitsForReads: reads in progress when the store closes may end, and no new ones begin.
func TestCloseWaitsForReads(t *testing.T) {
	walked := func(it interface {
		io.Closer
		First() bool
		Value() []byte
	},
	) error {
		if !it.First() || string(it.Value()) != "1" {
			return errors.Join(errors.New("no reads are in progress any more"), it.Close())
		}
		return it.Close()
	}
	lent := func(v []byte, closer io.Closer, err error) func() error {
		return func() error {
			if err == nil && string(v) != "1" {
				err = fmt.Errorf("the value became %q", v)
			}
			return errors.Join(err, closer.Close())
		}
	}
	for name, begin := range map[string]func(s *Store, b *Batch) (end func() error){
		"lend": func(s *Store, _ *Batch) func() error { return lent(s.Lend([]byte("a"))) },
		"iter": func(s *Store, _ *Batch) func() error {
			it := s.NewIter(nil, nil)
			return func() error { return walked(it) }
		},
		"clone": func(s *Store, _ *Batch) func() error {
			it := s.NewIter(nil, nil)
			c := it.Clone(nil, nil)
			err := it.Close()
			return func() error { return errors.Join(err, walked(c)) }
		},
		"batch lend": func(_ *Store, b *Batch) func() error { return lent(b.Lend([]byte("a"))) },
		"batch iter": func(_ *Store, b *Batch) func() error {
			it := b.Iter(nil, nil)
			return func() error { return walked(it) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := openState(t, NewCrashableFS())
			commit(t, s, "a", "1")
			b := s.NewBatch()
			end := begin(s, b)
			done := closing(s)
			refused(t, s, b)
			select {
			case err := <-done:
				t.Fatalf("closed under a read: %v", err)
			default:
			}
			if err := errors.Join(end(), <-done, b.Close()); err != nil {
				t.Error(err)
			}
			refused(t, s, b)
			if err := s.Close(); !errors.Is(err, ErrClosed) {
				t.Errorf("second close: %v", err)
			}
		})
	}
}

// refused checks that new reads are refused.
func refused(t *testing.T, s *Store, b *Batch) {
	t.Helper()
	key := []byte("a")
	_, get := s.Get(key, nil)
	_, durable := s.GetDurable(key, nil)
	_, _, lend := s.Lend(key)
	_, _, batchLend := b.Lend(key)
	for name, err := range map[string]error{"get": get, "get durable": durable, "lend": lend, "batch lend": batchLend} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n, _ := s.Size(); n != 0 {
		t.Errorf("%d bytes", n)
	}
	it := s.NewIter(nil, nil)
	c := it.Clone(nil, nil)
	if it.First() || it.SeekGE(key) || it.Last() || it.Next() || c.First() {
		t.Error("an iterator moves")
	}
	bit := b.Iter(nil, nil)
	if bit.First() || bit.SeekGE(key) || bit.Next() {
		t.Error("an iterator of a batch moves")
	}
	for _, err := range []error{it.Err(), c.Err(), bit.Err(), it.Close(), c.Close(), bit.Close()} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("iterator: %v", err)
		}
	}
}

// TestCloneWhileClosing: a walk that continues while the store closes begins no new read.
func TestCloneWhileClosing(t *testing.T) {
	s := openState(t, NewCrashableFS())
	commit(t, s, "a", "1")
	it := s.NewIter(nil, nil)
	done := closing(s)
	if c := it.Clone(nil, nil); c.First() || !errors.Is(c.Close(), ErrClosed) {
		t.Errorf("clone: %v", c.Err())
	}
	if !it.First() {
		t.Error("the walk was ended")
	}
	if err := errors.Join(it.Close(), <-done); err != nil {
		t.Error(err)
	}
}

// TestCloseAmidReads: readers that are unaware of the close get ErrClosed, and no other error.
func TestCloseAmidReads(t *testing.T) {
	for range 20 {
		s := openState(t, NewCrashableFS())
		commit(t, s, "a", "1", "b", "2")
		var running, ended sync.WaitGroup
		for i := range 4 {
			running.Add(1)
			ended.Go(func() {
				for n := 0; ; n++ {
					var err error
					switch i {
					case 0:
						_, err = s.Get([]byte("a"), nil)
					case 1:
						var closer io.Closer
						if _, closer, err = s.Lend([]byte("a")); err == nil {
							err = closer.Close()
						}
					case 2:
						it := s.NewIter(nil, nil)
						for ok := it.First(); ok; ok = it.Next() {
							_ = it.Value()
						}
						err = it.Close()
					case 3:
						if _, _, err = s.Lend([]byte("none")); errors.Is(err, ErrNotFound) {
							err = nil
						}
					}
					if n == 0 {
						running.Done()
					}
					if errors.Is(err, ErrClosed) {
						return
					}
					if err != nil {
						t.Errorf("reader %d: %v", i, err)
						return
					}
				}
			})
		}
		running.Wait()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		ended.Wait()
	}
}

// TestReadAllocates: counting a read costs no allocation.
func TestReadAllocates(t *testing.T) {
	s := openState(t, NewCrashableFS())
	defer s.Close() //nolint:errcheck // in memory
	commit(t, s, "a", "1")
	key := []byte("a")
	const runs = 1000
	per := func(lend func([]byte) ([]byte, io.Closer, error)) float64 {
		return testing.AllocsPerRun(5, func() {
			for range runs {
				if _, closer, err := lend(key); err != nil || closer.Close() != nil {
					t.Fatal(err)
				}
			}
		}) / runs
	}
	// The race detector makes pools drop a quarter of their items.
	if bare, counted := per(s.db.Get), per(s.Lend); counted > bare+0.5 {
		t.Errorf("%.2f allocations per read, %.2f without counting", counted, bare)
	}
}

func BenchmarkLend(b *testing.B) {
	s, err := OpenState("state", Options{FS: NewCrashableFS()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // in memory
	commit(b, s, "a", "1")
	for name, lend := range map[string]func([]byte) ([]byte, io.Closer, error){"bare": s.db.Get, "counted": s.Lend} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				key := []byte("a")
				for pb.Next() {
					if _, closer, err := lend(key); err != nil || closer.Close() != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
