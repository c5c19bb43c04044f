package member

import (
	"time"

	"cairn/internal/machine"
)

// V2Counters returns the counts of v2's writes.
func (m *Member) V2Counters() *machine.V2Counters { return m.machine.V2Counters() }

// StartTime returns when this process started the member.
func (m *Member) StartTime() time.Time { return m.start }

// LeaderSince returns when this member learned of the current leader; the zero time without a
// leader.
func (m *Member) LeaderSince() time.Time {
	if since := m.leaderSince.Load(); since != nil && m.Leader() != 0 {
		return *since
	}
	return time.Time{}
}
