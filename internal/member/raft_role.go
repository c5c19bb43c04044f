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

	in         delivery
	commands   []replica.Command
	lastBatch  uint64
	outlived   uint64 // the term up to which the proposals of earlier terms are answered
	lastRead   uint64
	ticks      int
	givingWay  bool
	leaderless int // ticks since there was a leader
	sweepEvery int // ticks between looks for requests that have waited too long
	// resumed is when the raft loop went on after a pause of an election timeout, 0 when it has
	// never paused. What followers have forwarded meanwhile is dropped for an election timeout:
	// their clients may have given up long before.
	resumed time.Duration
}

func newRaftRole(m *Member) *raftRole {
	return &raftRole{
		role:       role{m: m, name: "raft loop"},
		sweepEvery: max(1, int(time.Second/2/m.cfg.TickInterval)),
		// Entries of earlier lives of this member may yet be applied: their batches
		// must not bear the numbers of ours.
		lastBatch: rand.Uint64() >> 1,
		// Likewise questions: the leader may answer one of an earlier life, of what was committed
		// then.
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

// noticePause notices that the raft loop goes on after a pause. A tick and a message of a peer may
// both be what comes first.
func (r *raftRole) noticePause(now time.Duration) {
	if now-time.Duration(r.m.turning.lastTick.Load()) > r.m.electionTimeout() {
		r.resumed = now
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

// leaderLostAfter is for how many election timeouts there is no leader until clients that asked for
// it are told, as in etcd.
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

// giveWay hands leadership over when this leader's disk has stalled for an election timeout: its
// heartbeats go on, and nobody would find out that nothing else does.
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

// try does a step, or sees to it that the raft loop does one when somebody else is at it.
func (r *raftRole) try() {
	if !r.tryDo(r.step) {
		r.m.inbox.signal()
	}
}

// step gives the replica what has come in, and hands out what it wants done.
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
		if msg.GetType() == raftpb.MsgProp && r.resumed != 0 && now-r.resumed < m.electionTimeout() {
			continue
		}
		if err := m.replica.Step(m.now(), msg); err != nil {
			return err
		}
	}
	for i, applied := range r.in.applied {
		r.in.applied[i] = replica.Applied{}
		if err := r.finish(applied); err != nil {
			return err
		}
	}
	r.checkReady()
	if len(r.in.reads) > 0 {
		r.lastRead++
		m.reads.ask(r.lastRead, r.in.reads)
		m.replica.ReadIndex(r.lastRead)
		clear(r.in.reads)
	}
	return r.propose(r.in.proposals)
}

// finish tells the replica what has been applied. Reads wait for a majority from before a change of
// the members on.
func (r *raftRole) finish(applied replica.Applied) error {
	m := r.m
	if len(applied.Changes) > 0 {
		m.readable.Store(false)
	}
	return m.replica.Finish(m.now(), applied)
}

// handOut queues what the replica wants done.
func (r *raftRole) handOut() {
	m := r.m
	for {
		w, ok := m.replica.Work(m.now())
		if !ok {
			return
		}
		if len(w.Send) > 0 {
			r.send(w.Send) // first: the followers' disks work beside ours
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
			m.reads.answer(w.Reads, m.machine.AppliedIndex)
		}
		if w.LeaderChanged || w.Elected || w.Deposed {
			r.leaderChanged()
		}
	}
}

// urgent reports whether raft or somebody else waits for an append. Nobody does for one that notes
// but how far the log is committed: it goes to the disk with the next one.
func urgent(m *raftpb.Message) bool {
	return len(m.Entries) > 0 || len(m.Responses) > 0 || m.GetSnapshot() != nil
}

func (r *raftRole) leaderChanged() {
	m := r.m
	if leader := m.replica.Leader(); m.leader.Swap(leader) != leader && leader != 0 {
		m.leaderChanges.Add(1)
		now := time.Now()
		m.leaderSince.Store(&now)
	}
	m.leads.Store(m.replica.Leads())
	if !m.replica.Leads() {
		m.readable.Store(false)
	}
	if m.replica.Leader() != 0 {
		m.leaderLost.over()
		m.inbox.signal() // proposals have waited in the inbox for a leader
		for _, id := range m.reads.waitingForAnswer() {
			m.replica.ReadIndex(id) // raft forgets questions that nobody could answer
		}
	}
}

// checkReady finds out that the first entry of the present term has been applied,
// and with it everything that was acknowledged in earlier terms and lives.
func (r *raftRole) checkReady() {
	m := r.m
	if m.readable.Load() || m.replica.Leader() == 0 || m.machine.AppliedTerm() != m.replica.Term() {
		return
	}
	if term := m.replica.Term(); r.outlived != term {
		r.outlived = term
		m.pending.outlived(term, ErrLeaderChanged)
	}
	// finish takes it back before a change of the members takes effect.
	m.readable.Store(m.replica.Leads() && m.replica.SoleMember())
	m.readyOnce.Do(func() { close(m.ready) })
}
