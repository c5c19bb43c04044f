package member

import (
	"math/rand/v2"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/replica"
)

// raftRole is the replica's raft loop. The role guards the fields, and the replica's methods of
// that role.
type raftRole struct {
	role

	in        delivery
	commands  []replica.Command
	lastBatch uint64
	// applied is the term of the last applied entry whose requests are completed.
	applied    uint64
	outlived   uint64 // the term before which no proposals are pending
	lastRead   uint64
	ticks      int
	givingWay  bool
	leaderless int // ticks without a leader
	sweepEvery int // ticks between checks for requests that have timed out
	// resumed is when the raft loop continued after a pause of an election timeout, 0 when it has
	// never paused, and resumedIn the term of that time. In this term, forwarded proposals that
	// arrived during the pause are dropped for an election timeout: their clients may have timed
	// out long before.
	resumed     time.Duration
	resumedIn   uint64
	beforePause int64 // the time of the last tick before that pause
	dropped     bool  // forwarded proposals, and leadership has not been handed over since
}

func newRaftRole(m *Member) *raftRole {
	return &raftRole{
		role:       role{m: m, name: "raft loop"},
		sweepEvery: max(1, int(time.Second/2/m.cfg.TickInterval)),
		// Entries proposed before a restart may still be applied, so their batch numbers must not
		// be used again.
		lastBatch: rand.Uint64() >> 1,
		// Likewise read requests: the leader may respond to one from before a restart, with the
		// commit index of that time.
		lastRead: rand.Uint64() >> 1,
	}
}

// campaign lets a sole voter become leader without waiting for an election
// timeout.
func (r *raftRole) campaign() {
	if r.m.replica.SoleMember() {
		if err := r.m.replica.Campaign(); err != nil {
			r.m.fail(err)
		}
	}
	r.handOut()
}

func (r *raftRole) tick() {
	m := r.m
	r.noticePause(m.now())
	r.countLate()
	m.replica.Tick()
	r.countLeaderless()
	r.giveWay()
	if r.ticks++; r.ticks%r.sweepEvery != 0 {
		return
	}
	before := m.now() - m.requestTimeout()
	m.inbox.expire(before, ErrTimeout)
	m.pending.expire(before, ErrTimeout)
	for _, id := range m.reads.unanswered(before, ErrTimeout) {
		m.replica.ReadIndex(id)
	}
}

// noticePause records that the raft loop continues after a pause. The first event after the pause
// is a tick or a peer's message.
func (r *raftRole) noticePause(now time.Duration) {
	last := r.m.turning.lastTick.Load()
	if now-time.Duration(last) > r.m.electionTimeout() && last != r.beforePause {
		r.beforePause, r.resumed, r.resumedIn = last, now, r.m.replica.ProposalTerm()
	}
}

// dropsForwarded reports whether forwarded proposals may have arrived during a pause. Those of a
// term that began after it have not.
func (r *raftRole) dropsForwarded(now time.Duration) bool {
	return r.resumed != 0 && now-r.resumed < r.m.electionTimeout() && r.m.replica.ProposalTerm() == r.resumedIn
}

// handOverDropped transfers leadership after forwarded proposals were dropped. When an entry of the
// next term has been applied, the members that forwarded them know that they are lost, and propose
// those again whose clients still wait (ADR 0028).
func (r *raftRole) handOverDropped() {
	m := r.m
	if !r.dropped {
		return
	}
	to := m.replica.Successor()
	if m.replica.Leads() && to == 0 {
		return // no follower is active yet
	}
	r.dropped = false
	if m.replica.Leads() {
		m.log.Info("requests of other members that arrived during a pause were dropped: leadership is handed over", "to", idText(to))
		m.replica.TransferLeadership(to)
	}
}

// countLate counts the heartbeats that this leader sends more than an interval late, as etcd does:
// the machine or its disk is overloaded.
func (r *raftRole) countLate() {
	m := r.m
	if m.leads.Load() && !m.replica.SoleMember() && m.now()-time.Duration(m.turning.lastTick.Load()) > 2*m.cfg.TickInterval {
		m.metrics.HeartbeatsLate.Inc()
	}
}

// leaderLostAfter is the number of election timeouts without a leader after which clients that
// require a leader are notified, as in etcd.
const leaderLostAfter = 3

// countLeaderless counts the ticks without a leader.
func (r *raftRole) countLeaderless() {
	if r.m.replica.Leader() != 0 {
		r.leaderless = 0
		return
	}
	if r.leaderless++; r.leaderless == leaderLostAfter*r.m.cfg.ElectionTicks {
		r.m.leaderLost.tell()
	}
}

// giveWay transfers leadership when this leader's disk has stalled for an election timeout: its
// heartbeats continue, so the other members would not detect that it makes no progress.
func (r *raftRole) giveWay() {
	m := r.m
	stalled := m.logs.busyFor(m.now())
	if stalled < m.electionTimeout() || !m.replica.Leads() {
		r.givingWay = false
		return
	}
	to := m.replica.Successor()
	if to == 0 {
		return
	}
	if !r.givingWay {
		r.givingWay = true
		m.log.Warn("the disk of this leader does not answer: leadership is handed over", "stalled", stalled, "to", idText(to))
	}
	m.replica.TransferLeadership(to)
}

// try does a step, or makes sure that the raft loop does one when another goroutine has the role.
func (r *raftRole) try() {
	if !r.tryDo(r.step) {
		r.m.inbox.signal()
	}
}

// step passes the inbox to the replica, and hands out the resulting work.
func (r *raftRole) step() {
	if r.m.done() {
		return
	}
	if err := r.takeIn(); err != nil {
		r.m.fail(err)
		return
	}
	r.handOut()
}

func (r *raftRole) takeIn() error {
	m := r.m
	now := m.now()
	r.noticePause(now)
	m.inbox.take(&r.in, r.mayPropose())
	for i, msg := range r.in.messages {
		r.in.messages[i] = nil
		if msg.GetType() == raftpb.MsgProp && r.dropsForwarded(now) {
			r.dropped = true
			continue
		}
		if err := m.replica.Step(m.now(), msg); err != nil {
			return err
		}
	}
	r.handOverDropped()
	for i, applied := range r.in.applied {
		r.in.applied[i] = replica.Applied{}
		if err := r.finish(applied); err != nil {
			return err
		}
	}
	r.checkReady()
	r.proposeAgain()
	if len(r.in.reads) > 0 {
		r.lastRead++
		m.reads.ask(r.lastRead, r.in.reads)
		m.replica.ReadIndex(r.lastRead)
		clear(r.in.reads)
	}
	return r.propose(r.in.proposals)
}

// finish passes the results of applying to the replica. Before a change of the members, it makes
// reads require a majority.
func (r *raftRole) finish(applied replica.Applied) error {
	m := r.m
	if len(applied.Changes) > 0 {
		m.readable.Store(false)
	}
	r.applied = max(r.applied, applied.Term)
	return m.replica.Finish(m.now(), applied)
}

// handOut queues the replica's work for the roles.
func (r *raftRole) handOut() {
	m := r.m
	for {
		w, ok := m.replica.Work(m.now())
		if !ok {
			return
		}
		if len(w.Send) > 0 {
			r.send(w.Send) // first: the followers' disks work in parallel with ours
		}
		if w.Append != nil {
			if len(w.Append.Entries) > 0 {
				m.appendsUnderWay.Add(1)
			}
			m.appends.put(w.Append, urgent(w.Append), m.now())
		}
		if w.Apply != nil {
			m.applies.put(w.Apply, true, m.now())
		}
		if len(w.Reads) > 0 {
			m.reads.confirm(w.Reads, m.machine.AppliedIndex)
		}
		if w.LeaderChanged || w.Elected || w.Deposed {
			r.leaderChanged()
		}
	}
}

// urgent reports whether raft or a client waits for an append. An append with only a commit index
// is not urgent: it is written together with the next one.
func urgent(m *raftpb.Message) bool {
	return len(m.Entries) > 0 || len(m.Responses) > 0 || m.GetSnapshot() != nil
}

func (r *raftRole) leaderChanged() {
	m := r.m
	if leader := m.replica.Leader(); m.leader.Swap(leader) != leader {
		if leader != 0 {
			m.leaderChanges.Add(1)
			now := time.Now()
			m.leaderSince.Store(&now)
		}
		m.leaderChange.notify()
	}
	m.leads.Store(m.replica.Leads())
	if !m.replica.Leads() {
		m.readable.Store(false)
	}
	if m.replica.Leader() != 0 {
		m.leaderLost.over()
		m.inbox.signal() // proposals have waited in the inbox for a leader
		for _, id := range m.reads.waitingForAnswer() {
			m.replica.ReadIndex(id) // raft drops requests that could not be confirmed
		}
	}
}

// checkReady checks whether the first entry of the current term has been applied, and with it
// everything that was acknowledged in earlier terms, including those before a restart.
func (r *raftRole) checkReady() {
	m := r.m
	if m.readable.Load() || m.replica.Leader() == 0 || m.machine.AppliedTerm() != m.replica.Term() {
		return
	}
	// finish resets it before a change of the members takes effect.
	m.readable.Store(m.replica.Leads() && m.replica.SoleMember())
	m.readyOnce.Do(func() { close(m.ready) })
}

// proposeAgain puts the requests back into the inbox that were lost with an earlier leader, as soon
// as an entry of a later term has been applied.
func (r *raftRole) proposeAgain() {
	m := r.m
	if r.outlived >= r.applied {
		return
	}
	r.outlived = r.applied
	lost := m.pending.outlived(r.applied, ErrLeaderChanged)
	if len(lost) == 0 {
		return
	}
	if !m.extensions.known(m.Members()) {
		// A leader of version 0.1.0 may accept a forwarded proposal of an earlier term.
		for _, p := range lost {
			p.finish(ErrLeaderChanged)
		}
		return
	}
	m.log.Info("requests were lost with an earlier leader: they are proposed again", "requests", len(lost), "term", r.applied)
	m.inbox.putBack(lost)
	m.inbox.signal()
}
