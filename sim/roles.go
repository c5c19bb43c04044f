package sim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/codec"
	"cairn/internal/machine"
	"cairn/internal/replica"
	"cairn/internal/storage"
)

// raftTurn is one iteration of the raft loop.
func (m *member) raftTurn() {
	m.raftTurns = false
	msgs, applied := m.inbox, m.applied
	m.inbox, m.applied = nil, nil
	for _, msg := range msgs {
		if err := m.r.Step(m.clock(), msg); err != nil {
			m.broken(fmt.Errorf("step %v: %w", msg.GetType(), err))
			return
		}
	}
	for _, a := range applied {
		if err := m.r.Finish(m.clock(), a); err != nil {
			m.broken(fmt.Errorf("finish: %w", err))
			return
		}
	}
	m.ask()
	if m.r.Leader() != 0 && !m.propose() {
		return
	}
	for {
		w, ok := m.r.Work(m.clock())
		if !ok {
			return
		}
		m.handOut(&w)
	}
}

// ask requests from the leader the index for linearizable reads.
func (m *member) ask() {
	for _, q := range m.questions {
		m.lastRead++
		m.asked[m.lastRead] = q
		m.askedOrder = append(m.askedOrder, m.lastRead)
		m.r.ReadIndex(m.lastRead)
	}
	m.questions = nil
}

// propose packs the waiting commands into entries of any size.
func (m *member) propose() bool {
	for len(m.proposals) > 0 {
		n := 1 + m.w.rng.IntN(len(m.proposals))
		if m.w.bug == bugNoAuthAtApply || m.w.bug == bugGuestWrites {
			n = 1
		}
		if i := slices.IndexFunc(m.proposals[:n], func(p *proposal) bool { return p.change != nil }); i >= 0 {
			n = max(i, 1)
		}
		commands := make([]replica.Command, n)
		for i, p := range m.proposals[:n] {
			commands[i] = p.command
		}
		m.lastBatch++
		var err error
		if change := m.proposals[0].change; change != nil {
			err = m.r.ProposeChange(m.clock(), m.lastBatch, commands[0], change)
		} else {
			err = m.r.Propose(m.clock(), m.lastBatch, commands)
		}
		if errors.Is(err, replica.ErrNoLeader) {
			return true
		}
		if err != nil {
			m.broken(fmt.Errorf("propose: %w", err))
			return false
		}
		m.pending[m.lastBatch] = m.proposals[:n:n]
		m.proposals = m.proposals[n:]
	}
	return true
}

func (m *member) handOut(w *replica.Work) {
	for _, msg := range w.Send {
		if msg.GetType() == raftpb.MsgSnap {
			m.sendSnapshot(msg)
		} else {
			m.w.net.send(msg)
		}
	}
	if w.Append != nil {
		m.appends = append(m.appends, w.Append)
		m.queueAppend()
	}
	if w.Apply != nil {
		m.applies = append(m.applies, w.Apply)
		m.queueApply()
	}
	for _, r := range w.Reads {
		if q := m.asked[r.ID]; q != nil {
			delete(m.asked, r.ID)
			q.index = r.Index
			m.reads = append(m.reads, q)
		}
	}
	m.askedOrder = slices.DeleteFunc(m.askedOrder, func(id uint64) bool { return m.asked[id] == nil })
	m.releaseReads()
	switch {
	case w.Elected:
		m.w.stats.Elections++
		m.w.note(m.name, "leads in term %d", m.r.Term())
	case w.Deposed:
		m.w.note(m.name, "leads no more; term %d", m.r.Term())
	case w.LeaderChanged:
		m.w.note(m.name, "follows %d in term %d", m.r.Leader(), m.r.Term())
	}
	if w.LeaderChanged && m.r.Leader() != 0 {
		for _, id := range m.askedOrder {
			m.r.ReadIndex(id)
		}
	}
}

// queueAppend schedules the log writer, which takes as long as an fsync.
func (m *member) queueAppend() {
	if m.appendTurns {
		return
	}
	m.appendTurns = true
	delay := m.w.between(millisecond/10, 4*millisecond)
	if m.w.rng.IntN(200) == 0 {
		delay *= 50
	}
	m.later(max(delay, m.stalledUntil-m.w.now), m.appendTurn)
}

func (m *member) appendTurn() {
	m.appendTurns = false
	if m.stalledUntil > m.w.now {
		m.queueAppend()
		return
	}
	n := 1 + m.w.rng.IntN(len(m.appends))
	msgs := m.appends[:n:n]
	m.appends = m.appends[n:]
	if m.cut != nil {
		m.disk.arm(*m.cut, logFile)
	}
	m.rememberMembers()
	responses, err := m.append(msgs)
	if image := m.disk.disarm(); image != nil {
		m.w.note(m.name, "power cut at a sync of the log, which leaves %v", *m.cut)
		m.crash(*image)
		return
	}
	if err != nil {
		m.broken(fmt.Errorf("append: %w", err))
		return
	}
	last, _ := m.rlog.LastIndex()
	m.w.note(m.name, "log ends at entry %d", last)
	m.own(responses)
	if len(m.appends) > 0 {
		m.queueAppend()
	}
}

func (m *member) queueApply() {
	if !m.applyTurns {
		m.applyTurns = true
		m.later(m.w.between(0, 2*millisecond), m.applyTurn)
	}
}

func (m *member) applyTurn() {
	m.applyTurns = false
	n := 1 + m.w.rng.IntN(len(m.applies))
	msgs := m.applies[:n:n]
	m.applies = m.applies[n:]
	done, err := m.apply(msgs)
	if err != nil {
		m.broken(fmt.Errorf("apply: %w", err))
		return
	}
	if err := m.spoilState(); err != nil {
		m.broken(err)
		return
	}
	m.applied = append(m.applied, done)
	m.kick()
	m.releaseReads()
	for _, msg := range msgs {
		m.unflushed += len(msg.Entries)
		m.w.stats.Entries += len(msg.Entries)
	}
	m.w.note(m.name, "applied entry %d, revision %d", m.machine.AppliedIndex(), m.machine.Keys().Head().Revision)
	m.compareHash()
	m.lookAtMembers()
	if m.w.rng.IntN(2) == 0 {
		m.r.ReleaseApplied()
	}
	// The store's memtable must not become full by itself: the time of that flush would not be
	// deterministic.
	if m.unflushed > 150 && !m.flush() {
		return
	}
	if len(m.applies) > 0 {
		m.queueApply()
	}
}

// take publishes the events of a batch to the watchers, and returns the results to waiting clients.
func (m *member) take(batch *machine.Applied) {
	m.unflushed += batch.EventCount
	m.hub.Publish(batch.Events, batch.EventCount)
	m.queueDispatch()
	for _, e := range batch.Results {
		if e.First == 0 {
			m.waiting = m.pending[e.Batch]
			delete(m.pending, e.Batch)
			if n := len(m.waiting); n > 0 && n != e.Commands {
				panic(fmt.Sprintf("entry of batch %d has %d commands, proposed were %d", e.Batch, e.Commands, n))
			}
		}
		if len(m.waiting) == 0 {
			continue
		}
		waiting := m.waiting[:len(e.Results)]
		m.waiting = m.waiting[len(e.Results):]
		for i, p := range waiting {
			p.result = e.Results[i]
			if read := m.machine.BeginDeferred(&p.result); read != nil {
				if err := read(); err != nil {
					panic(fmt.Sprintf("the deferred reads of a transaction: %v", err))
				}
			}
			if p.done != nil {
				p.done(&p.result)
			}
		}
	}
}

// releaseReads serves the reads whose index has been applied.
func (m *member) releaseReads() {
	applied := m.machine.AppliedIndex()
	left := m.reads[:0]
	var ready []*question
	for _, r := range m.reads {
		if r.index > applied {
			left = append(left, r)
		} else {
			ready = append(ready, r)
		}
	}
	m.reads = left
	for _, r := range ready {
		r.done()
	}
}

// flush writes the state to the disk; a power failure may happen at one of its syncs.
func (m *member) flush() bool {
	if m.disk.full {
		return true // pebble would retry until there is space
	}
	cutAt := -1
	if !m.w.quiet && !m.w.scripted && m.w.rng.IntN(25) == 0 {
		cutAt = m.w.rng.IntN(3)
		how := []cut{nothing, all, synced}[m.w.rng.IntN(3)]
		if how == all && !m.syncLog() {
			return false
		}
		n := 0
		m.disk.arm(how, func(name string) bool {
			if logFile(name) {
				return false
			}
			n++
			return n > cutAt
		})
	}
	index := m.machine.AppliedIndex()
	err := m.machine.Flush()
	if image := m.disk.disarm(); image != nil {
		m.w.note(m.name, "power cut at sync %d of a flush", cutAt)
		m.crash(*image)
		m.restartLater()
		return false
	}
	if err != nil {
		m.broken(fmt.Errorf("flush: %w", err))
		return false
	}
	m.unflushed, m.appliedAtFlush = 0, index
	return true
}

// syncLog writes all unsynced writes to the log's journal: otherwise the data that survives a power
// failure would depend on the progress of a goroutine.
func (m *member) syncLog() bool {
	b := m.logStore.NewBatch()
	// a key that the raft log does not use
	err := errors.Join(b.Append([]byte{'y'}, nil), b.Commit(true), b.Close())
	if err != nil {
		m.broken(fmt.Errorf("sync the log: %w", err))
		return false
	}
	return true
}

// keepHouse does one of a member's periodic tasks.
func (m *member) keepHouse() {
	pause := 2 * second
	if m.w.streaming {
		pause /= 4
	}
	m.later(m.w.between(200*millisecond, pause), m.keepHouse)
	switch m.w.rng.IntN(4) {
	case 0:
		m.flush()
	case 1:
		if err := m.truncate(); err != nil {
			m.broken(fmt.Errorf("truncate: %w", err))
		}
	default:
		if _, err := m.machine.Sweep(); err != nil {
			m.broken(fmt.Errorf("sweep: %w", err))
		}
	}
}

// truncate removes log entries: sometimes all, so that followers that lack them need a snapshot.
func (m *member) truncate() error {
	if m.disk.full || m.w.rng.IntN(2) == 0 && !m.flush() {
		return nil
	}
	if m.w.streaming {
		return m.r.Truncate(replica.Keep{})
	}
	entries := uint64(m.w.rng.IntN(3) * m.w.rng.IntN(20))
	switch m.w.c.Seed % 4 {
	case 0: // limited by the bytes of some entries
		return m.r.Truncate(replica.Keep{Entries: 60, Bytes: 100 * entries})
	case 1: // as members do
		return m.r.Truncate(replica.Keep{Entries: entries, Bytes: 4 << 10, FollowedBytes: 8 << 10})
	default:
		return m.r.Truncate(replica.Keep{Entries: entries, Bytes: math.MaxUint64})
	}
}

// spoilIndex leaves the store as it would be between the data and a later write of the applied
// index.
func (m *member) spoilIndex() error {
	key := []byte{byte(storage.TableSystem), 'p'}
	v, err := m.state.Get(key, nil)
	if err != nil {
		return err
	}
	r := codec.NewReader(v)
	index := r.Uvarint()
	b := m.state.NewBatch()
	b.Set(key, append(binary.AppendUvarint(nil, index-1), r.Rest()...))
	return errors.Join(b.Commit(false), b.Close())
}
