package member

import (
	"fmt"
	"sync/atomic"
	"time"
)

// stuckAfter is for how many election timeouts a role may be at one step, or leave work in its
// queue, before the member counts as stuck.
const stuckAfter = 10

// turning is what is known of the raft loop's turns.
type turning struct {
	lastTick atomic.Int64 // on the member's clock
}

// Live returns nil while the raft loop, the log writer and the applier do their work, and otherwise
// which of them does not, or why the member has failed. It waits for nothing.
func (m *Member) Live() error {
	if err := m.Err(); err != nil {
		return err
	}
	now, limit := m.now(), stuckAfter*m.electionTimeout()
	for _, r := range []*role{&m.raft.role, &m.logs.role, &m.applier.role} {
		if busy := r.busyFor(now); busy > limit {
			return fmt.Errorf("the %s has been stuck in one step for %v", r.name, busy.Round(time.Millisecond))
		}
	}
	if since := now - time.Duration(m.turning.lastTick.Load()); since > limit {
		return fmt.Errorf("the raft loop has not ticked for %v", since.Round(time.Millisecond))
	}
	for _, q := range []*workQueue{&m.appends, &m.applies} {
		if age := q.age(now); age > limit {
			return fmt.Errorf("work of the %s has waited for %v", q.role, age.Round(time.Millisecond))
		}
	}
	return nil
}
