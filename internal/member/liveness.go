package member

import (
	"fmt"
	"sync/atomic"
	"time"
)

// stuckAfter is the number of election timeouts after which a role that is still in one step, or
// has not taken its work, counts as stuck.
const stuckAfter = 10

// turning has the times of the raft loop's turns.
type turning struct {
	lastTick atomic.Int64 // on the member's clock
}

// Live returns nil while the raft loop, the log writer and the applier make progress, and otherwise
// which of them does not, or why the member has failed. It does not block.
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
