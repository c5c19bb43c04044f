package auth

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
)

// TestLoginStorm has more logins come than may wait. The rest is sent away at once, and who has
// logged in before gets in without waiting.
func TestLoginStorm(t *testing.T) {
	_, _, g, _ := gate(t)
	if err := g.Password(t.Context(), g.State(), RootName, "pw"); err != nil {
		t.Fatal(err)
	}
	g.slots <- struct{}{} // the one slot is taken, for as long as the test likes
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var storm sync.WaitGroup
	for range waitingMax {
		storm.Go(func() {
			if err := g.Password(ctx, g.State(), RootName, "guess"); !errors.Is(err, context.Canceled) {
				t.Errorf("who waited: %v", err)
			}
		})
	}
	for g.waiting.Load() < waitingMax {
		runtime.Gosched()
	}
	if err := g.Password(t.Context(), g.State(), RootName, "guess"); !errors.Is(err, TooManyLogins) {
		t.Errorf("one too many: %v", err)
	}
	if _, err := g.Hash(t.Context(), "new"); !errors.Is(err, TooManyLogins) {
		t.Errorf("a new password: %v", err)
	}
	if err := g.Password(t.Context(), g.State(), RootName, "pw"); err != nil {
		t.Errorf("who has logged in before: %v", err)
	}
	cancel()
	storm.Wait()
	<-g.slots
	if n := g.waiting.Load(); n != 0 {
		t.Errorf("%d wait when all are gone", n)
	}
	if err := g.Password(t.Context(), g.State(), RootName, "guess"); !errors.Is(err, BadPassword) {
		t.Errorf("after the storm: %v", err)
	}
}
