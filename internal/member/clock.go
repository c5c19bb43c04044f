package member

import (
	"sync"
	"time"

	"cairn/internal/kv"
)

// ClusterTime returns the cluster time: on the leader that of the last applied entry plus the time
// since its election, on others an estimate of it. It does not advance without a leader.
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

// lastTime has a cluster time and when this member received it. A follower uses it for the
// remaining TTLs that it shows to clients; decisions are made by the leader's clock.
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
