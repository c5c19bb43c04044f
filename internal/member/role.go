package member

import (
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// role is the lock of one of the replica's three roles. Its steps run in do or try, so that a panic
// in one of them fails the member, on whatever goroutine it happens: otherwise a server of package
// net/http would recover it, and the member would continue with an undefined state.
type role struct {
	m    *Member
	name string
	// began is when the current step began, on the member's clock; 0 while there is none.
	began atomic.Int64

	mu sync.Mutex
}

// do runs a step with the role.
func (r *role) do(step func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.run(step)
}

// tryDo runs a step if the role is free, and reports whether it was.
func (r *role) tryDo(step func()) bool {
	if !r.mu.TryLock() {
		return false
	}
	defer r.mu.Unlock()
	r.run(step)
	return true
}

// run runs a step; the caller has the role.
func (r *role) run(step func()) {
	r.began.Store(max(1, int64(r.m.now())))
	defer func() { r.end(recover()) }()
	step()
}

// end ends a step, which has panicked unless v is nil.
func (r *role) end(v any) {
	r.began.Store(0)
	if v != nil {
		r.m.fail(fmt.Errorf("panic in the %s: %v\n%s", r.name, v, debug.Stack()))
	}
}

// busyFor returns how long the current step has run.
func (r *role) busyFor(now time.Duration) time.Duration {
	if began := r.began.Load(); began != 0 {
		return now - time.Duration(began)
	}
	return 0
}
