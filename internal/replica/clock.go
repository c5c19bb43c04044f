package replica

import (
	"time"

	"cairn/internal/kv"
)

// Clock is a leader's cluster time: it starts at the time in the log when the leadership began, and
// advances with the caller's monotonic clock. It never changes; nil is a clock that does not
// advance.
type Clock struct {
	since time.Duration
	time  kv.ClusterTime
	term  uint64
}

// Term returns the term of the leadership.
func (c *Clock) Term() uint64 { return c.term }

// Start returns the cluster time at which the clock started.
func (c *Clock) Start() kv.ClusterTime { return c.time }

// Time returns the cluster time at the caller's monotonic clock, and at least applied, the cluster
// time of the last applied entry.
func (c *Clock) Time(now time.Duration, applied kv.ClusterTime) kv.ClusterTime {
	if c == nil {
		return applied
	}
	return max(applied, c.time+kv.ClusterTime(now-c.since))
}

// startClock starts the clock once a leader has applied the first entry of its term: only then does
// it know its predecessors' last cluster time.
func (r *Replica) startClock(now time.Duration) {
	if r.Clock() == nil && r.Leads() && r.machine.AppliedTerm() == r.Term() {
		r.clock.Store(&Clock{since: now, time: r.machine.ClusterTime(), term: r.Term()})
	}
}

// Clock returns the clock of this replica's leadership, nil while it does not lead. Any goroutine
// may call it.
func (r *Replica) Clock() *Clock { return r.clock.Load() }
