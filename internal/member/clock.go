package member

import (
	"errors"
	"math"
	"sync"
	"time"

	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/machine"
	"cairn/internal/replica"
	"cairn/internal/v2tree"
)

// ClusterTime returns the cluster time: on the leader that of the last applied entry and what has
// passed since it was elected, elsewhere what it must be there by now. It stands still while there
// is no leader.
func (m *Member) ClusterTime() kv.ClusterTime {
	applied := m.machine.ClusterTime()
	if clock := m.clock.Load(); clock != nil {
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

// How deadlines are looked after: a look at each tick of expiryInterval, so many
// expiries at a time, which share their entry with clients' requests and so are few, and
// as long a rest as they took.
const (
	expiryInterval = 100 * time.Millisecond
	expiriesMax    = 32
	// expiryLookBack is at how many ticks all deadlines are looked at again, for those whose end
	// has failed.
	expiryLookBack = 10
	// v2ExpiryDelay is how long a node of v2 outlives its TTL. etcd looks for those every half
	// second, so there a node lives on for a quarter of a second on average; programs that write
	// with a TTL of 0 and then read, as its recorded answers do, count on it.
	v2ExpiryDelay = 250 * time.Millisecond
)

// runExpiry has the leader propose the end of what has reached its deadline. A
// command names the deadline that it acts on, and does nothing when that does not hold
// any more: it may come late, or from a leader that is none any more.
func (m *Member) runExpiry() {
	defer m.wg.Done()
	ticker := time.NewTicker(expiryInterval)
	defer ticker.Stop()
	// Deadlines before from have been seen to. Where many thousands have just been removed the
	// store would have to pass over all of them at each look.
	var from kv.ClusterTime
	for tick := 0; ; tick++ {
		select {
		case <-m.stopping:
			return
		case <-m.failed:
			return
		case <-ticker.C:
		}
		if tick%expiryLookBack == 0 || !m.leads.Load() {
			from = 0
		}
		// While the data is known to be damaged nothing is removed, as in etcd.
		for m.leads.Load() && m.Alarms().MayChange() == nil {
			began := m.now()
			if !m.expire(&from) || !m.rest(m.now()-began) {
				break
			}
		}
		m.noteTime()
	}
}

// rest waits, and reports whether the member still runs then. Where very much ends together,
// clients' requests get every other turn.
func (m *Member) rest(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-m.stopping:
		return false
	case <-m.failed:
		return false
	}
}

// expire ends what is due among the expiriesMax earliest deadlines that are not before from, moves
// that on, and reports whether there may be more.
func (m *Member) expire(from *kv.ClusterTime) (more bool) {
	due, last, err := m.due(*from)
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
			switch err := errors.Join(p.err, p.result.Err); {
			case err != nil:
				m.log.Debug("expire", "error", err)
			case p.command.Kind == machine.KindLease:
				m.metrics.LeasesExpired.Inc()
			}
		case <-m.stopping:
			return false
		case <-m.failed:
			return false
		}
	}
	if len(waiting) == len(due) {
		*from = last
	}
	return len(due) >= expiriesMax && len(waiting) == len(due)
}

// noteTime has the cluster time written to the log when deadlines wait and nothing else has done so
// for an election timeout: more than that a successor does not add to anybody's time.
func (m *Member) noteTime() {
	if !m.leads.Load() || time.Duration(m.ClusterTime()-m.machine.ClusterTime()) < m.electionTimeout() {
		return
	}
	waits, err := m.deadlinesWait()
	if err != nil {
		m.fail(err)
		return
	}
	if !waits {
		return
	}
	m.raft.do(m.raft.proposeClusterTime)
	m.passOn()
}

// deadlinesWait reports whether anything will ever expire.
func (m *Member) deadlinesWait() (bool, error) {
	nodes, err := v2tree.Due(m.Keys().Reading(), 0, math.MaxInt64, 1)
	if err != nil || len(nodes) > 0 {
		return len(nodes) > 0, err
	}
	leases, err := lease.Due(m.Keys().Reading(), 0, math.MaxInt64, 1)
	return len(leases) > 0, err
}

// due returns the commands that end what is due, nodes of v2 and leases, and the last of their
// deadlines.
func (m *Member) due(from kv.ClusterTime) (commands []replica.Command, last kv.ClusterTime, err error) {
	reading, now := m.Keys().Reading(), m.ClusterTime()
	v2Now := max(0, now-kv.ClusterTime(v2ExpiryDelay))
	nodes, err := v2tree.Due(reading, from, v2Now, expiriesMax)
	if err != nil {
		return nil, from, err
	}
	leases, err := lease.Due(reading, from, now, expiriesMax)
	if err != nil {
		return nil, from, err
	}
	last = from
	for i := range nodes {
		last = max(last, nodes[i].Deadline)
		commands = append(commands, replica.Command{Kind: machine.KindV2, Payload: nodes[i].Append(nil)})
	}
	for i := range leases {
		last = max(last, leases[i].Deadline)
		commands = append(commands, replica.Command{Kind: machine.KindLease, Payload: leases[i].Append(nil)})
	}
	// What is behind v2Now has to be looked at again: a node may be there that is not due yet.
	return commands, max(from, min(last, v2Now)), nil
}
