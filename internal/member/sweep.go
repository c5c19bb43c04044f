package member

import (
	"context"
	"sync"
)

// sweepWaiters are the compactions that wait until the applier has swept their rows.
type sweepWaiters struct {
	mu      sync.Mutex
	waiting []chan struct{}
}

// WaitSwept returns when the rows of all compactions so far have been removed.
func (m *Member) WaitSwept(ctx context.Context) error {
	done := make(chan struct{})
	m.sweeps.mu.Lock()
	m.sweeps.waiting = append(m.sweeps.waiting, done)
	m.sweeps.mu.Unlock()
	m.applies.signal() // the applier may have finished before the call
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-m.running.Done():
		return ErrStopped
	}
}

func (r *applyRole) sweepDone() {
	m := r.m
	m.Space.Swept(m.Keys().Head().CompactRevision)
	m.sweeps.mu.Lock()
	defer m.sweeps.mu.Unlock()
	for _, done := range m.sweeps.waiting {
		close(done)
	}
	m.sweeps.waiting = nil
}
