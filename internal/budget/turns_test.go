package budget

import (
	"context"
	"errors"
	"slices"
	"sync"
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
