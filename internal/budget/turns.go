package budget

import (
	"context"
	"runtime"
	"slices"
	"sync"
)

// turns limits how many long reads run at a time, so that a processor is left for short requests.
// Accounts that wait are served in turn, the requests of each in order of arrival: a connection
// that asks for much delays itself and not the others.
type turns struct {
	mu    sync.Mutex
	free  int
	lines []*Account // with waiting requests, the next to be served first
}

// longReadsMax returns how many long reads run at a time: half of the processors.
func longReadsMax() int { return max(1, runtime.GOMAXPROCS(0)/2) }

// TryBeginLong takes a turn for a long read if one is free. EndLong must follow if it reports true.
func (a *Account) TryBeginLong() bool {
	if a == nil {
		return true
	}
	t := &a.b.long
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free == 0 {
		return false
	}
	t.free--
	return true
}

// BeginLong takes a turn for a long read, waiting for it until ctx ends. EndLong must follow if the
// error, which is the context's, is nil.
func (a *Account) BeginLong(ctx context.Context) error {
	if a == nil {
		return nil
	}
	t := &a.b.long
	t.mu.Lock()
	if t.free > 0 { // then nothing waits
		t.free--
		t.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	if len(a.long) == 0 {
		t.lines = append(t.lines, a)
	}
	a.long = append(a.long, turn)
	t.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(a.long, turn)
	if i < 0 { // the turn came together with the end of the context
		t.nextLocked()
		return ctx.Err()
	}
	if a.long = slices.Delete(a.long, i, i+1); len(a.long) == 0 {
		t.lines = slices.DeleteFunc(t.lines, func(l *Account) bool { return l == a })
	}
	return ctx.Err()
}

// EndLong gives the turn to the next long read.
func (a *Account) EndLong() {
	if a == nil {
		return
	}
	t := &a.b.long
	t.mu.Lock()
	defer t.mu.Unlock()
	t.nextLocked()
}

func (t *turns) nextLocked() {
	if len(t.lines) == 0 {
		t.free++
		return
	}
	a := t.lines[0]
	t.lines = t.lines[1:]
	turn := a.long[0]
	if a.long = a.long[1:]; len(a.long) > 0 {
		t.lines = append(t.lines, a)
	}
	close(turn)
}
