package member

import (
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"cairn/internal/replica"
)

// How much one entry carries, and how many appends may be on their way to the
// disk: with two, one is synced while the next gathers, and requests that arrive
// meanwhile share the one after. More would only make the entries smaller.
const (
	entryBytesMax      = 1 << 20
	entryCommandsMax   = 4096
	appendsUnderWayMax = 2
)

// raftRole is the replica's raft loop. The mutex guards the rest, and the replica's
// methods of that role.
type raftRole struct {
	m *Member

	sync.Mutex
	in         delivery
	commands   []replica.Command
	lastBatch  uint64
	lastRead   uint64
	ticks      int
	sweepEvery int // ticks between looks for requests that have waited too long
}

func newRaftRole(m *Member) *raftRole {
	return &raftRole{
		m:          m,
		sweepEvery: max(1, int(time.Second/2/m.cfg.TickInterval)),
		// Entries of earlier lives of this member may yet be applied: their batches
		// must not bear the numbers of ours.
		lastBatch: rand.Uint64() >> 1,
	}
}

// campaign lets a sole voter become leader without waiting for an election
// timeout.
func (r *raftRole) campaign() {
	r.Lock()
	defer r.Unlock()
	if r.m.replica.SoleMember() {
		if err := r.m.replica.Campaign(); err != nil {
			r.m.fail(err)
		}
	}
	r.handOut()
}

func (r *raftRole) tick() {
	r.Lock()
	defer r.Unlock()
	m := r.m
	m.replica.Tick()
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

// try does a step, or sees to it that the raft loop does one when somebody else is at it.
func (r *raftRole) try() {
	if !r.TryLock() {
		r.m.inbox.signal()
		return
	}
	r.step()
	r.Unlock()
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
	canPropose := m.replica.Leader() != 0 && m.appendsUnderWay.Load() < appendsUnderWayMax
	m.inbox.take(&r.in, canPropose)
	for i, response := range r.in.responses {
		r.in.responses[i] = nil
		if err := m.replica.Step(response); err != nil {
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

// propose packs proposals into as few entries as their sizes allow.
func (r *raftRole) propose(proposals []*proposal) error {
	m := r.m
	for len(proposals) > 0 {
		r.commands = r.commands[:0]
		size, n := 0, 0
		for n < len(proposals) && n < entryCommandsMax {
			c := proposals[n].command
			if size += len(c.Payload); n > 0 && size > entryBytesMax {
				break
			}
			r.commands = append(r.commands, c)
			n++
		}
		r.lastBatch++
		m.pending.add(r.lastBatch, append([]*proposal(nil), proposals[:n]...))
		if err := m.replica.Propose(m.now(), r.lastBatch, r.commands); err != nil {
			for _, p := range m.pending.remove(r.lastBatch) {
				p.finish(err)
			}
			if !errors.Is(err, replica.ErrNoLeader) {
				return err
			}
		}
		clear(proposals[:n])
		clear(r.commands)
		proposals = proposals[n:]
	}
	return nil
}

// handOut queues what the replica wants done.
func (r *raftRole) handOut() {
	m := r.m
	for {
		w, ok := m.replica.Work(m.now())
		m.clock.Store(m.replica.Clock())
		if !ok {
			return
		}
		if w.Append != nil {
			if len(w.Append.Entries) > 0 {
				m.appendsUnderWay.Add(1)
			}
			m.appends.put(w.Append)
		}
		if w.Apply != nil {
			m.applies.put(w.Apply)
		}
		if len(w.Reads) > 0 {
			m.reads.answer(w.Reads, m.machine.AppliedIndex)
		}
		if w.LeaderChanged || w.Elected || w.Deposed {
			r.leaderChanged()
		}
	}
}

func (r *raftRole) leaderChanged() {
	m := r.m
	if leader := m.replica.Leader(); m.leader.Swap(leader) != leader && leader != 0 {
		m.leaderChanges.Add(1)
		now := time.Now()
		m.leaderSince.Store(&now)
	}
	m.leads.Store(m.replica.Leads())
	m.term.Store(m.replica.Status().GetTerm())
	if !m.replica.Leads() {
		m.readable.Store(false)
	}
	if m.replica.Leader() != 0 {
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
	if m.readable.Load() || m.replica.Leader() == 0 || m.machine.AppliedTerm() != m.term.Load() {
		return
	}
	// Membership is fixed in this release; a change would have to take readable
	// back before it takes effect.
	m.readable.Store(m.replica.Leads() && m.replica.SoleMember())
	m.readyOnce.Do(func() { close(m.ready) })
}
