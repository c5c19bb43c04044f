package budget

import (
	"context"
	"runtime"
	"slices"
	"sync"
)

// turns limits how many reads of a kind run at a time. Accounts that wait are served in turn, the
// requests of each in order of arrival: a connection that asks for much delays itself and not the
// others.
type turns struct {
	mu    sync.Mutex
	free  int
	lines []*line // with waiting requests, the next to be served first
}

// line is the requests of an account that wait for a turn, guarded by turns.mu.
type line []chan struct{}

// longReadsMax returns how many long reads run at a time: half of the processors, so that a
// processor is left for short requests.
func longReadsMax() int { return max(1, runtime.GOMAXPROCS(0)/2) }

const (
	// runsPerProcessor is how many reads of ranges run at a time on each processor: more of them
	// only wait for it, and others wait longer behind them.
	runsPerProcessor = 16
	// runsPart and runBytes limit them further in a small budget: a read that runs has up to
	// runBytes that it has not taken, in its first buffer, its last piece and its iterator's
	// blocks, and all reads that run have at most 1/runsPart of the budget.
	runsPart = 4
	runBytes = 512 << 10
	runsMin  = 4
)

// runsMax returns how many reads of ranges run at a time in a budget of limit bytes.
func runsMax(limit int64) int {
	return max(runsMin, int(min(limit/runsPart/runBytes, int64(runsPerProcessor*runtime.GOMAXPROCS(0)))))
}

// TryBeginLong takes a turn for a long read if one is free. EndLong must follow if it reports true.
func (a *Account) TryBeginLong() bool { return a == nil || a.b.long.tryBegin() }

// BeginLong takes a turn for a long read, waiting for it until ctx ends. EndLong must follow if the
// error, which is the context's, is nil.
func (a *Account) BeginLong(ctx context.Context) error {
	if a == nil {
		return nil
	}
	return a.b.long.begin(ctx, &a.long)
}

// EndLong gives the turn to the next long read.
func (a *Account) EndLong() {
	if a != nil {
		a.b.long.end()
	}
}

// beginRun takes a turn for a read of a range, like BeginLong. endRun must follow.
func (a *Account) beginRun(ctx context.Context) error {
	if a == nil {
		return nil
	}
	return a.b.runs.begin(ctx, &a.runs)
}

// endRun gives the turn to the next read of a range.
func (a *Account) endRun() {
	if a != nil {
		a.b.runs.end()
	}
}

func (t *turns) tryBegin() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free == 0 {
		return false
	}
	t.free--
	return true
}

// begin takes a turn, waiting for it in l until ctx ends.
func (t *turns) begin(ctx context.Context, l *line) error {
	t.mu.Lock()
	if t.free > 0 { // then nothing waits
		t.free--
		t.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	if len(*l) == 0 {
		t.lines = append(t.lines, l)
	}
	*l = append(*l, turn)
	t.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(*l, turn)
	if i < 0 { // the turn came together with the end of the context
		t.endLocked()
		return ctx.Err()
	}
	if *l = slices.Delete(*l, i, i+1); len(*l) == 0 {
		t.lines = slices.DeleteFunc(t.lines, func(other *line) bool { return other == l })
	}
	return ctx.Err()
}

// end gives a turn to the next request.
func (t *turns) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.endLocked()
}

func (t *turns) endLocked() {
	if len(t.lines) == 0 {
		t.free++
		return
	}
	l := t.lines[0]
	t.lines = t.lines[1:]
	turn := (*l)[0]
	if *l = (*l)[1:]; len(*l) > 0 {
		t.lines = append(t.lines, l)
	}
	close(turn)
}
