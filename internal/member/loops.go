package member

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/machine"
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

// runRaft is the raft loop.
func (m *Member) runRaft() {
	defer m.wg.Done()
	ticker := time.NewTicker(m.cfg.TickInterval)
	defer ticker.Stop()
	l := raftLoop{
		Member:     m,
		sweepEvery: max(1, int(time.Second/2/m.cfg.TickInterval)),
		// Entries of earlier lives of this member may yet be applied: their batches
		// must not bear the numbers of ours.
		lastBatch: rand.Uint64() >> 1,
	}
	l.campaign()
	for !m.done() {
		l.work()
		select {
		case <-ticker.C:
			l.tick()
		case <-m.inbox.wake:
		case <-m.stopping:
		case <-m.failed:
		}
		if err := l.turn(); err != nil {
			m.fail(err)
		}
	}
}

// raftLoop is what only the raft loop's goroutine touches.
type raftLoop struct {
	*Member
	in         delivery
	commands   []replica.Command
	lastBatch  uint64
	lastRead   uint64
	ticks      int
	sweepEvery int // ticks between looks for requests that have waited too long
}

// campaign lets a sole voter become leader without waiting for an election
// timeout.
func (l *raftLoop) campaign() {
	if l.replica.SoleMember() {
		if err := l.replica.Campaign(); err != nil {
			l.fail(err)
		}
	}
}

func (l *raftLoop) tick() {
	l.replica.Tick()
	if l.ticks++; l.ticks%l.sweepEvery != 0 {
		return
	}
	before := l.now() - l.requestTimeout()
	l.inbox.expire(before, ErrTimeout)
	l.pending.expire(before, ErrTimeout)
	for _, id := range l.reads.unanswered(before, ErrTimeout) {
		l.replica.ReadIndex(id)
	}
}

// turn takes what has come in and gives it to the replica.
func (l *raftLoop) turn() error {
	canPropose := l.replica.Leader() != 0 && l.appendsUnderWay.Load() < appendsUnderWayMax
	l.inbox.take(&l.in, canPropose)
	for i, r := range l.in.responses {
		l.in.responses[i] = nil
		if err := l.replica.Step(r); err != nil {
			return err
		}
	}
	l.checkReady()
	if len(l.in.reads) > 0 {
		l.lastRead++
		l.reads.ask(l.lastRead, l.in.reads)
		l.replica.ReadIndex(l.lastRead)
		clear(l.in.reads)
	}
	return l.propose(l.in.proposals)
}

// propose packs proposals into as few entries as their sizes allow.
func (l *raftLoop) propose(proposals []*proposal) error {
	for len(proposals) > 0 {
		l.commands = l.commands[:0]
		size, n := 0, 0
		for n < len(proposals) && n < entryCommandsMax {
			c := proposals[n].command
			if size += len(c.Payload); n > 0 && size > entryBytesMax {
				break
			}
			l.commands = append(l.commands, c)
			n++
		}
		l.lastBatch++
		l.pending.add(l.lastBatch, append([]*proposal(nil), proposals[:n]...))
		if err := l.replica.Propose(l.now(), l.lastBatch, l.commands); err != nil {
			for _, p := range l.pending.remove(l.lastBatch) {
				p.finish(err)
			}
			if !errors.Is(err, replica.ErrNoLeader) {
				return err
			}
		}
		clear(proposals[:n])
		clear(l.commands)
		proposals = proposals[n:]
	}
	return nil
}

// work hands out what the replica wants done.
func (l *raftLoop) work() {
	for {
		w, ok := l.replica.Work(l.now())
		if !ok {
			return
		}
		if w.Append != nil {
			if len(w.Append.Entries) > 0 {
				l.appendsUnderWay.Add(1)
			}
			l.appends.put(w.Append)
		}
		if w.Apply != nil {
			l.applies.put(w.Apply)
		}
		if len(w.Reads) > 0 {
			l.reads.answer(w.Reads, l.machine.AppliedIndex)
		}
		if w.LeaderChanged || w.Elected || w.Deposed {
			l.leaderChanged()
		}
	}
}

func (l *raftLoop) leaderChanged() {
	status := l.replica.Status()
	if l.leader.Load() != l.replica.Leader() && l.replica.Leader() != 0 {
		l.leaderChanges.Add(1)
	}
	l.leads.Store(l.replica.Leads())
	l.clock.Store(l.replica.Clock())
	l.term.Store(status.GetTerm())
	l.leader.Store(l.replica.Leader())
	if !l.replica.Leads() {
		l.readable.Store(false)
	}
	if l.replica.Leader() != 0 {
		l.inbox.signal() // proposals have waited in the inbox for a leader
	}
}

// checkReady finds out that the first entry of the present term has been applied,
// and with it everything that was acknowledged in earlier terms and lives.
func (l *raftLoop) checkReady() {
	if l.readable.Load() || l.replica.Leader() == 0 || l.machine.AppliedTerm() != l.term.Load() {
		return
	}
	// Membership is fixed in this release; a change would have to take readable
	// back before it takes effect.
	l.readable.Store(l.replica.Leads() && l.replica.SoleMember())
	l.readyOnce.Do(func() { close(l.Member.ready) })
}

// runLogWriter is the log writer.
func (m *Member) runLogWriter() {
	defer m.wg.Done()
	for !m.done() {
		select {
		case <-m.appends.wake:
		case <-m.flushed:
			if err := m.truncate(); err != nil {
				m.fail(err)
			}
			continue
		case <-m.stopping:
			return
		case <-m.failed:
			return
		}
		msgs := m.appends.take()
		if len(msgs) == 0 {
			continue
		}
		began := time.Now()
		responses, err := m.replica.Append(msgs)
		if err != nil {
			m.fail(err)
			return
		}
		for _, msg := range msgs {
			if len(msg.Entries) > 0 {
				m.appendsUnderWay.Add(-1)
			}
		}
		m.metrics.LogFsync.Observe(time.Since(began).Seconds())
		m.inbox.respond(responses)
	}
}

// truncate removes the log entries that the state on disk has made needless.
func (m *Member) truncate() error {
	keep := m.cfg.CatchUpEntries
	if m.readable.Load() {
		keep = 0 // a sole member has nobody to catch up
	}
	return m.replica.Truncate(keep)
}

// runApplier is the applier.
func (m *Member) runApplier() {
	defer m.wg.Done()
	var waiting results
	waiting.Member = m
	sweeping, sinceFlush := true, uint64(0)
	for !m.done() {
		if !sweeping {
			select {
			case <-m.applies.wake:
			case <-m.stopping:
				return
			case <-m.failed:
				return
			}
		}
		msgs := m.applies.take()
		if len(msgs) > 0 {
			n, err := m.apply(msgs, &waiting)
			if err != nil {
				m.fail(err)
				return
			}
			sinceFlush += n
			sweeping = true
		}
		if sinceFlush >= m.cfg.SnapshotCount {
			sinceFlush = 0
			if err := m.stateStore.StartFlush(); err != nil {
				m.fail(err)
				return
			}
		}
		var err error
		if sweeping, err = m.machine.Sweep(); err != nil {
			m.fail(err)
			return
		}
		if !sweeping {
			m.sweepDone()
		}
	}
}

// apply applies a run of committed entries and answers those who wait for them.
func (m *Member) apply(msgs []*raftpb.Message, waiting *results) (entries uint64, err error) {
	began := time.Now()
	responses, err := m.replica.Apply(msgs, waiting)
	if err != nil {
		return 0, err
	}
	waiting.finish()
	m.reads.reached(m.machine.AppliedIndex())
	m.replica.ReleaseApplied()
	m.inbox.respond(responses)
	m.metrics.StateCommit.Observe(time.Since(began).Seconds())
	for _, msg := range msgs {
		entries += uint64(len(msg.Entries))
	}
	return entries, nil
}

// results is the applier's machine.Waiting: it holds the requests of one run of
// entries until the run is visible.
type results struct {
	*Member
	done []*proposal
	out  []*machine.Result
}

// Results implements machine.Waiting.
func (r *results) Results(h machine.Header, n int) []*machine.Result {
	if h.Origin != r.cfg.ID {
		return nil
	}
	proposals := r.pending.remove(h.Batch)
	if len(proposals) == 0 {
		return nil // of an earlier life of this member, or given up
	}
	if len(proposals) != n {
		panic(fmt.Sprintf("entry of batch %d has %d commands, proposed were %d", h.Batch, n, len(proposals)))
	}
	r.out = r.out[:0]
	for _, p := range proposals {
		r.out = append(r.out, &p.result)
	}
	r.done = append(r.done, proposals...)
	return r.out
}

// finish answers the requests.
func (r *results) finish() {
	for i, p := range r.done {
		p.finish(nil)
		r.done[i] = nil
	}
	r.done = r.done[:0]
	clear(r.out)
}
