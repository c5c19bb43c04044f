package sim

import (
	"cairn/check"
	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/machine"
	"cairn/internal/mvcc"
	"cairn/internal/replica"
)

// Renewals of leases, as in package keepalive: the leader renews in memory, and other members call
// the leader.

// renewals of a hundred that are made by command even if the leader could make them in memory.
const byCommandPercent = 8

// callTimeout is how long a follower waits for the leader's response to a call.
const callTimeout = electionTicks * tick

// renewal is a renewal in progress at a member.
type renewal struct {
	m        *member
	r        check.Request
	done     func(check.Response)
	attempts int
	users    uint64 // the revision of users and roles for which the user was checked
}

// renew serves the renewal of a lease.
func (m *member) renew(r check.Request, done func(check.Response)) {
	n := &renewal{m: m, r: r, done: done}
	if m.w.rng.IntN(100) < byCommandPercent {
		n.byCommand()
		return
	}
	n.begin()
}

// begin starts an attempt.
func (n *renewal) begin() {
	m := n.m
	if !n.identify() {
		return
	}
	if n.attempts++; n.attempts > 3 {
		n.byCommand()
		return
	}
	if m.r.Clock() != nil {
		m.renewInMemory(kv.LeaseID(n.r.Lease.ID), n.confirm)
		return
	}
	leader := m.w.find(m.r.Leader())
	if leader == nil || leader == m {
		n.byCommand()
		return
	}
	answered := false
	answer := func(res inMemory) {
		if !answered {
			answered = true
			n.confirm(res)
		}
	}
	m.w.callMember(m, leader, func(reply func(func())) {
		if leader.r.Clock() == nil {
			reply(func() { answer(inMemory{retry: true}) })
			return
		}
		leader.renewInMemory(kv.LeaseID(n.r.Lease.ID), func(res inMemory) { reply(func() { answer(res) }) })
	})
	m.later(callTimeout, func() {
		if !answered {
			answered = true
			n.byCommand()
		}
	})
}

// identify checks the user, and refuses the request of one that does not exist.
func (n *renewal) identify() bool {
	s := n.m.machine.Auth().State()
	n.users = s.Revision
	p := &proposal{}
	if !n.m.onBehalf(&n.r, p) || s.Enabled && s.Subject(actorOf(&n.r, s.Revision)) == nil {
		n.done(check.Response{Err: check.ErrRefused})
		return false
	}
	return true
}

// confirm completes the renewal with the leader's result.
func (n *renewal) confirm(res inMemory) {
	switch {
	case res.retry, n.m.machine.Auth().State().Revision != n.users:
		n.begin()
	case res.byCommand:
		n.byCommand()
	case res.Outcome == lease.Renewed:
		n.m.w.stats.InMemory++
		n.done(check.Response{Revision: res.Revision, TTL: res.TTL})
	default:
		n.done(check.Response{Err: errorOf(mvcc.ErrLeaseNotFound)})
	}
}

// byCommand makes the renewal by a command.
func (n *renewal) byCommand() { n.m.serveCommand(n.r, n.done) }

// inMemory is the result of a renewal in memory.
type inMemory struct {
	lease.Renewal
	retry, byCommand bool
}

// renewInMemory renews a lease while this member leads.
func (m *member) renewInMemory(id kv.LeaseID, done func(inMemory)) {
	c := m.r.Clock()
	from := m.timeOf(c)
	confirmed := func() { m.promise(c, from, id, 0, done) }
	if m.w.bug == bugUnconfirmedRenewal {
		confirmed()
		return
	}
	m.questions = append(m.questions, &question{done: func() {
		if m.r.Clock() != c {
			done(inMemory{retry: true}) // another leader may have confirmed the read
			return
		}
		confirmed()
	}})
	m.kick()
}

func (m *member) timeOf(c *replica.Clock) kv.ClusterTime {
	return c.Time(m.clock(), m.machine.ClusterTime())
}

// promise renews a lease after the leadership of a clock was confirmed, and extends its deadline
// before if necessary.
func (m *member) promise(c *replica.Clock, from kv.ClusterTime, id kv.LeaseID, attempts int, done func(inMemory)) {
	m.promises.Lead(c.Term(), c.Start())
	reading := m.machine.Keys().Reading()
	look := func(id kv.LeaseID) (lease.Lease, bool, error) { return lease.Get(reading, id) }
	res, err := m.promises.Renew(c.Term(), from, m.timeOf(c), id, look)
	switch {
	case err != nil:
		m.broken(err)
	case res.Outcome == lease.OtherTerm:
		done(inMemory{retry: true})
	case res.Outcome != lease.NeedsExtension:
		done(inMemory{Renewal: res})
	case attempts == 3:
		done(inMemory{byCommand: true})
	default:
		again := func(*machine.Result) { m.promise(c, from, id, attempts+1, done) }
		if m.w.bug == bugLateExtension {
			ahead := lease.Change{ID: id, Deadline: m.timeOf(c) + 20*kv.ClusterTime(second)}
			m.promises.Applied([]lease.Change{ahead}, false)()
			again(nil)
			m.later(m.w.between(0, 3*second), func() { m.extend(c.Term(), []kv.LeaseID{id}, nil) })
			return
		}
		m.extend(c.Term(), []kv.LeaseID{id}, again)
	}
}

// extend proposes to move the deadlines of leases ahead.
func (m *member) extend(term uint64, ids []kv.LeaseID, done func(*machine.Result)) {
	extension := lease.Extension(term, ids)
	command := replica.Command{Kind: machine.KindLease, Payload: extension.Append(nil)}
	m.proposals = append(m.proposals, &proposal{command: command, done: done})
	m.kick()
}

// callMember calls another member: serve runs there, and the function that it passes to reply runs
// at the caller. Both may never happen.
func (w *world) callMember(from, to *member, serve func(reply func(func()))) {
	w.transmit(from, to, func() {
		serve(func(result func()) { w.transmit(to, from, result) })
	})
}

// transmit runs do at a member, unless the network loses it.
func (w *world) transmit(from, to *member, do func()) {
	cut := func() bool { return w.net.cuts[link{from.id, to.id}] > 0 }
	if cut() || w.rng.IntN(100) < w.net.loss {
		return
	}
	to.later(w.between(delayMax/50, delayMax+w.net.slow), func() {
		if !cut() {
			do()
		}
	})
}
