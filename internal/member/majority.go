package member

import (
	"fmt"
	"time"
)

// MissingMajority returns why there is no leader, in the form "1 of 3 members up, waiting for a
// majority", and "" while there is one. It does not block.
func (m *Member) MissingMajority() string {
	if m.Leader() != 0 {
		return ""
	}
	all, up := voters(m)
	if up > all/2 {
		return fmt.Sprintf("%d of %d members up, waiting for the election of a leader", up, all)
	}
	return fmt.Sprintf("%d of %d members up, waiting for a majority", up, all)
}

// voters returns how many members vote, and how many of them are connected.
func voters(m *Member) (all, up int) {
	for _, record := range m.Members() {
		if record.Learner {
			continue
		}
		all++
		if record.ID == m.cfg.ID || !m.calls.ActiveSince(record.ID).IsZero() {
			up++
		}
	}
	return all, up
}

// majorityLog logs the result of MissingMajority: when it changes, and at an interval.
type majorityLog struct {
	said string
	at   time.Duration // on the member's clock
}

const majorityLogInterval = 30 * time.Second

// look is called about once a second.
func (l *majorityLog) look(m *Member) {
	reason, now := m.MissingMajority(), m.now()
	all, _ := voters(m)
	switch {
	case reason == "":
	case all == 1: // it elects itself at once
		return
	case reason != l.said || now-l.at >= majorityLogInterval:
		m.log.Warn(reason)
		l.at = now
	default:
		return
	}
	l.said = reason
}
