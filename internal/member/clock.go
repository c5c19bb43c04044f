package member

import (
	"sync"
	"time"

	"cairn/internal/kv"
)

// ClusterTime returns the cluster time: on the leader that of the last applied entry and what has
// passed since it was elected, elsewhere what it must be there by now. It stands still while there
// is no leader.
func (m *Member) ClusterTime() kv.ClusterTime {
	applied := m.machine.ClusterTime()
	if clock := m.replica.Clock(); clock != nil {
		return clock.Time(m.now(), applied)
	}
	if m.Leader() == 0 || m.leads.Load() {
		return applied
	}
	return max(applied, m.lastTime.at(m.now()))
}

// lastTime is when this member got to know of which cluster time. A follower tells its clients by
// it how long something lasts; what is decided is decided by the leader's clock.
type lastTime struct {
	mu      sync.Mutex
	time    kv.ClusterTime
	heardAt time.Duration // member's clock
}

func (t *lastTime) heard(now time.Duration, time kv.ClusterTime) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time > t.time {
		t.time, t.heardAt = time, now
	}
}

func (t *lastTime) at(now time.Duration) kv.ClusterTime {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.time == 0 {
		return 0
	}
	return t.time + kv.ClusterTime(now-t.heardAt)
}
