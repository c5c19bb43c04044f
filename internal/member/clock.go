package member

import (
	"errors"
	"time"

	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/machine"
	"cairn/internal/replica"
	"cairn/internal/v2tree"
)

// ClusterTime returns the cluster time: of the last applied entry, and on the leader
// what has passed since it was elected.
func (m *Member) ClusterTime() kv.ClusterTime {
	return m.clock.Load().Time(m.now(), m.machine.ClusterTime())
}

// How deadlines are looked after: a look at each tick of expiryInterval, so many
// expiries at a time.
const (
	expiryInterval = 100 * time.Millisecond
	expiriesMax    = 256
)

// runExpiry has the leader propose the end of what has reached its deadline. A
// command names the deadline that it acts on, and does nothing when that does not hold
// any more: it may come late, or from a leader that is none any more.
func (m *Member) runExpiry() {
	defer m.wg.Done()
	ticker := time.NewTicker(expiryInterval)
	defer ticker.Stop()
	for {
		select {
		case <-m.stopping:
			return
		case <-m.failed:
			return
		case <-ticker.C:
		}
		for m.leads.Load() && m.expire() {
		}
	}
}

// expire ends what is due among the expiriesMax earliest deadlines, and says whether there
// may be more.
func (m *Member) expire() (more bool) {
	due, err := m.due()
	if err != nil {
		m.fail(err)
		return false
	}
	waiting := make([]*proposal, 0, len(due))
	for _, c := range due {
		p, err := m.inbox.submit(c.Kind, c.Payload, m.now())
		if err != nil {
			break // the backlog is full, or the member stops: the next look finds them again
		}
		waiting = append(waiting, p)
	}
	m.advance()
	for _, p := range waiting {
		select {
		case <-p.done:
			if p.err != nil || p.result.Err != nil {
				m.log.Debug("expire", "error", errors.Join(p.err, p.result.Err))
			}
		case <-m.stopping:
			return false
		case <-m.failed:
			return false
		}
	}
	return len(due) >= expiriesMax && len(waiting) == len(due)
}

// due returns the commands that end what is due: nodes of v2 and leases.
func (m *Member) due() (commands []replica.Command, err error) {
	reading, now := m.Keys().Reading(), m.ClusterTime()
	nodes, err := v2tree.Due(reading, now, expiriesMax)
	if err != nil {
		return nil, err
	}
	leases, err := lease.Due(reading, now, expiriesMax)
	if err != nil {
		return nil, err
	}
	for i := range nodes {
		commands = append(commands, replica.Command{Kind: machine.KindV2, Payload: nodes[i].Append(nil)})
	}
	for i := range leases {
		commands = append(commands, replica.Command{Kind: machine.KindLease, Payload: leases[i].Append(nil)})
	}
	return commands, nil
}
