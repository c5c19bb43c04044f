package budget

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// Long reads of one account wait for one another, and those of another account come in between.
func TestLongReadsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(1 << 20)
		b.long.free = 1
		busy, other := b.Open(), b.Open()
		if !busy.TryBeginLong() || busy.TryBeginLong() || other.TryBeginLong() {
			t.Fatal("one turn was not given once")
		}
		var mu sync.Mutex
		var order []string
		begin := func(name string, a *Account) {
			go func() {
				if err := a.BeginLong(t.Context()); err != nil {
					t.Error(err)
				}
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
				a.EndLong()
			}()
			synctest.Wait()
		}
		ctx, cancel := context.WithCancel(t.Context())
		gaveUp := make(chan error, 1)
		go func() { gaveUp <- busy.BeginLong(ctx) }()
		synctest.Wait()
		begin("busy 1", busy)
		begin("busy 2", busy)
		begin("busy 3", busy)
		begin("other", other)
		cancel()
		if err := <-gaveUp; !errors.Is(err, context.Canceled) {
			t.Errorf("after the end of its context: %v", err)
		}
		busy.EndLong()
		synctest.Wait()
		if want := []string{"busy 1", "other", "busy 2", "busy 3"}; !slices.Equal(order, want) {
			t.Errorf("served %q, want %q", order, want)
		}
		if b.long.free != 1 || len(b.long.lines) != 0 {
			t.Errorf("%d turns are free, %d accounts wait", b.long.free, len(b.long.lines))
		}
	})
}

// More reads of ranges than have turns wait before they begin; reads of single records do not.
func TestReadsOfRangesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(1 << 20) // room for runsMin
		busy, other := b.Open(), b.Open()
		release := make(chan struct{})
		var running, most atomic.Int64
		var wg sync.WaitGroup
		read := func(a *Account) {
			wg.Go(func() {
				w := NewWalk(t.Context(), a)
				err := w.Run(&pieces{w: &w}, false, func() error {
					n := running.Add(1)
					most.Store(max(most.Load(), n))
					<-release
					running.Add(-1)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		for range 3 * runsMin {
			read(busy)
		}
		read(other)
		ctx, cancel := context.WithCancel(t.Context())
		w := NewWalk(ctx, other)
		cancel()
		if err := w.Run(&pieces{w: &w}, false, func() error { t.Error("it ran"); return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("a read whose context ends before its turn: %v", err)
		}
		single := NewWalk(t.Context(), other)
		single.Brief()
		if err := single.Run(&pieces{w: &single}, false, func() error { return nil }); err != nil {
			t.Error(err)
		}
		close(release)
		wg.Wait()
		if most.Load() != runsMin || b.runs.free != runsMin || besides(b) != 0 {
			t.Errorf("%d reads ran at a time, want %d; %d turns are free, %d bytes taken", most.Load(), runsMin, b.runs.free, besides(b))
		}
	})
}
