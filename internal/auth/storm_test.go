package auth

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// occupy acquires the only slot.
func occupy(t *testing.T, g *Gate) {
	t.Helper()
	if err := g.limiter.acquire(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
}

// TestLoginStorm lets one address check more passwords than may wait. The excess is refused at
// once; a cached password needs no slot; and another address gets the next slot.
func TestLoginStorm(t *testing.T) {
	_, _, g, _ := gate(t)
	if err := g.Password(t.Context(), g.State(), RootName, "pw"); err != nil {
		t.Fatal(err)
	}
	occupy(t, g)
	ctx, cancel := context.WithCancel(From(t.Context(), "10.0.0.1"))
	defer cancel()
	var storm sync.WaitGroup
	var refused sync.Map
	for i := range waitingMax {
		storm.Go(func() {
			err := g.Password(ctx, g.State(), fmt.Sprint("user", i%7), "guess")
			switch {
			case errors.Is(err, TooManyLogins):
				refused.Store(i, true)
			case !errors.Is(err, context.Canceled) && !errors.Is(err, BadPassword): // some get a slot
				t.Errorf("a check that waited: %v", err)
			}
		})
	}
	for g.limiter.count() < waitingMax {
		runtime.Gosched()
	}
	if err := g.Password(ctx, g.State(), RootName, "guess"); !errors.Is(err, TooManyLogins) {
		t.Errorf("one too many: %v", err)
	}
	if err := g.Password(ctx, g.State(), RootName, "pw"); err != nil {
		t.Errorf("a known password: %v", err)
	}
	other := make(chan error, 1)
	go func() { other <- g.Password(From(t.Context(), "10.0.0.2"), g.State(), RootName, "wrong") }()
	for done := false; !done; runtime.Gosched() { // it takes the place of a guess
		refused.Range(func(any, any) bool { done = true; return false })
	}
	// The second free slot at the latest goes to the other address: the first may go to a guess,
	// which takes as long as a check.
	g.limiter.release()
	if err := <-other; !errors.Is(err, BadPassword) {
		t.Errorf("another address: %v", err)
	}
	if n := g.limiter.count(); n < waitingMax-10 {
		t.Errorf("another address waited for %d guesses", waitingMax-n)
	}
	cancel()
	storm.Wait()
	if n := g.limiter.count(); n != 0 || len(g.limiter.queues) != 0 {
		t.Errorf("%d wait in %d queues after all have left", n, len(g.limiter.queues))
	}
	if err := g.Password(t.Context(), g.State(), RootName, "guess"); !errors.Is(err, BadPassword) {
		t.Errorf("after the storm: %v", err)
	}
}

// TestFairLimiter serves addresses, and the users of each, round-robin.
func TestFairLimiter(t *testing.T) {
	var q fairLimiter
	served := map[chan error]string{}
	add := func(address, user string, n int) {
		for range n {
			granted := make(chan error, 1)
			if !q.addLocked(address, user, granted) {
				t.Fatal("refused")
			}
			served[granted] = address + user
		}
	}
	add("A", "x", 3)
	add("A", "y", 1)
	add("B", "x", 1)
	add("B", "z", 1)
	var order []string
	for range len(served) {
		q.nextLocked()
		for granted, name := range served {
			select {
			case <-granted:
				order = append(order, name)
			default:
			}
		}
	}
	if got, want := strings.Join(order, " "), "Ax Bx Ay Bz Ax Ax"; got != want {
		t.Errorf("served %s, want %s", got, want)
	}
	if q.nextLocked(); q.free != 1 || q.waiting != 0 || len(q.queues) != 0 {
		t.Errorf("%d free, %d waiting, %d queues at the end", q.free, q.waiting, len(q.queues))
	}
}

// TestUnknownUsersCostTheSame: a log-in that is refused costs one round of bcrypt, whether the user
// exists, has a password, or neither; so its time does not reveal which users exist.
func TestUnknownUsersCostTheSame(t *testing.T) {
	_, _, g, _ := gate(t)
	costs := 0 // the sum of 2^cost, to which bcrypt's time is proportional
	g.hash = func(_ []byte, cost int) ([]byte, error) { costs += 1 << cost; return nil, nil }
	g.compare = func(hash, _ []byte) error {
		cost, err := bcrypt.Cost(hash)
		costs += 1 << cost
		return errors.Join(err, bcrypt.ErrMismatchedHashAndPassword)
	}
	for _, name := range []string{RootName, "nopass", "unknown", "", strings.Repeat("x", 1000)} {
		for _, password := range []string{"", "wrong", "wrong", strings.Repeat("p", passwordBytesMax)} {
			costs = 0
			if err := g.Password(t.Context(), g.State(), name, password); !errors.Is(err, BadPassword) {
				t.Errorf("%.10q: %v", name, err)
			}
			if costs != 1<<bcrypt.MinCost {
				t.Errorf("%.10q with a password of %d bytes costs %d rounds, want %d", name, len(password), costs, 1<<bcrypt.MinCost)
			}
		}
		costs = 0
		if err := g.Password(t.Context(), g.State(), name, strings.Repeat("p", passwordBytesMax+1)); !errors.Is(err, BadPassword) || costs != 0 {
			t.Errorf("%.10q with a password that is too long: %v, %d rounds", name, err, costs)
		}
	}
}
