package sim

import (
	"fmt"
	"math"
	"time"

	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/machine"
	"cairn/internal/replica"
	"cairn/internal/v2tree"
)

// Handling of deadlines, as in package member.
const (
	expiryInterval = 100 * millisecond
	expiriesMax    = 16
)

func durationOf(ns int64) time.Duration { return time.Duration(ns) }

func (m *member) clusterTime() kv.ClusterTime {
	return m.r.Clock().Time(m.clock(), m.machine.ClusterTime())
}

// lookAtDeadlines makes the leader propose the expiry of what is due, and write the cluster time
// when no other entry does.
func (m *member) lookAtDeadlines() {
	m.later(expiryInterval, m.lookAtDeadlines)
	if !m.r.Leads() || m.expiring > 0 && m.w.now-m.expirySince < 2*second {
		return
	}
	due, err := m.due(m.clusterTime())
	if err != nil {
		m.broken(fmt.Errorf("due: %w", err))
		return
	}
	ends, err := m.tendLeases()
	if err != nil {
		m.broken(fmt.Errorf("leases renewed in memory: %w", err))
		return
	}
	due = append(due, ends...)
	m.expiring, m.expirySince = len(due), m.w.now
	for _, c := range due {
		p := &proposal{command: c, done: func(*machine.Result) { m.expiring-- }}
		if m.w.bug == bugStaleRevoke || m.w.bug == bugStaleEnd {
			// A command found due here may be applied later, under any leader.
			m.later(m.w.between(0, second), func() {
				m.proposals = append(m.proposals, p)
				m.kick()
			})
			continue
		}
		m.proposals = append(m.proposals, p)
	}
	if len(due) == 0 && time.Duration(m.clusterTime()-m.machine.ClusterTime()) >= time.Duration(electionTicks*tick) {
		m.noteTime()
	}
	m.kick()
}

// tendLeases moves deadlines ahead, and returns the commands that end leases whose promises have
// passed.
func (m *member) tendLeases() (ends []replica.Command, err error) {
	c := m.r.Clock()
	if c == nil {
		m.promises.Follow()
		return nil, nil
	}
	m.promises.Lead(c.Term(), c.Start())
	if m.w.bug != bugFarDeadlines {
		if _, err := m.promises.Load(c.Term(), m.machine.Keys().Reading(), 5); err != nil {
			return nil, err
		}
	}
	if ids := m.promises.Extensions(c.Term(), 3); len(ids) > 0 {
		m.extend(c.Term(), ids, nil)
	}
	due, _ := m.promises.Due(c.Term(), m.timeOf(c), kv.ClusterTime(second), expiriesMax)
	for i := range due {
		if m.w.bug == bugStaleEnd || m.w.bug == bugStaleRevoke {
			due[i] = lease.Command{Kind: lease.KindRevoke, ID: due[i].ID} // whatever the term
		}
		ends = append(ends, replica.Command{Kind: machine.KindLease, Payload: due[i].Append(nil)})
	}
	return ends, nil
}

// noteTime proposes an entry with only the time, if any deadline exists.
func (m *member) noteTime() {
	waits, err := m.due(math.MaxInt64)
	if err != nil || len(waits) == 0 {
		return
	}
	m.lastBatch++
	_ = m.r.Propose(m.clock(), m.lastBatch, nil) // on an error a later call does it
}

func (m *member) due(now kv.ClusterTime) (commands []replica.Command, err error) {
	reading := m.machine.Keys().Reading()
	nodes, err := v2tree.Due(reading, 0, now, expiriesMax)
	if err != nil {
		return nil, err
	}
	leases, err := lease.Due(reading, 0, now, expiriesMax)
	if err != nil {
		return nil, err
	}
	for i := range nodes {
		commands = append(commands, replica.Command{Kind: machine.KindV2, Payload: nodes[i].Append(nil)})
	}
	for i := range leases {
		if m.w.bug == bugStaleRevoke {
			leases[i].Kind = lease.KindRevoke
		}
		commands = append(commands, replica.Command{Kind: machine.KindLease, Payload: leases[i].Append(nil)})
	}
	return commands, nil
}
