package member

import (
	"errors"
	"slices"
	"time"

	"cairn/internal/replica"
)

// Limits of an entry, and of the appends in progress. Requests that arrive during an fsync share
// the next entry; more appends at a time would only make the entries smaller.
const (
	entryBytesMax      = 1 << 20
	entryCommandsMax   = 4096
	appendsUnderWayMax = 1
	// With several members an entry counts until it is applied: the other members' disks and the
	// network take their time, too.
	batchesUnderWayMax = 2
)

// mayPropose reports whether requests are packed into an entry now. Otherwise they accumulate for a
// larger one.
func (r *raftRole) mayPropose() bool {
	m := r.m
	switch {
	case m.replica.Leader() == 0 || r.leaderDisconnected():
		return false
	case m.readable.Load():
		return m.appendsUnderWay.Load() < appendsUnderWayMax
	default:
		return m.pending.young(m.now()-m.electionTimeout()) < batchesUnderWayMax
	}
}

// leaderDisconnected reports whether another member leads and there is no connection to it: what is
// forwarded to it would be lost. A message or tick after the connection or the next leader's
// election takes the requests that waited.
func (r *raftRole) leaderDisconnected() bool {
	leader := r.m.replica.Leader()
	return leader != r.m.cfg.ID && r.m.calls.ActiveSince(leader).IsZero()
}

// propose packs proposals into as few entries as their sizes allow. Proposals that the replica
// cannot accept, since there is no leader, go back into the inbox.
func (r *raftRole) propose(proposals []*proposal) error {
	m := r.m
	proposals = slices.DeleteFunc(proposals, (*proposal).dropped)
	for len(proposals) > 0 {
		n := r.pack(proposals)
		if m.cfg.Tracer != nil {
			markProposed(proposals[:n])
		}
		r.lastBatch++
		if !m.pending.add(r.lastBatch, m.replica.ProposalTerm(), m.now(), append([]*proposal(nil), proposals[:n]...)) {
			proposals = proposals[n:]
			continue
		}
		var err error
		if change := proposals[0].change; change != nil {
			err = m.replica.ProposeChange(m.now(), r.lastBatch, r.commands[0], change)
		} else {
			err = m.replica.Propose(m.now(), r.lastBatch, r.commands)
		}
		clear(r.commands)
		if err != nil {
			if removed, _ := m.pending.remove(r.lastBatch, n); removed == nil {
				proposals = proposals[n:] // pending.close has failed them
			}
			m.inbox.putBack(proposals)
			if !errors.Is(err, replica.ErrNoLeader) {
				return err
			}
			break
		}
		proposals = proposals[n:]
	}
	clear(r.in.proposals)
	return nil
}

// markProposed records the time of the proposal in the requests that are traced.
func markProposed(proposals []*proposal) {
	for _, p := range proposals {
		if p.parts != nil {
			p.parts.proposed = time.Now()
		}
	}
}

// proposeClusterTime proposes an entry with only the cluster time. No client waits for it.
func (r *raftRole) proposeClusterTime() {
	m := r.m
	if m.done() || m.appendsUnderWay.Load() > 0 {
		return // the entry being written carries the cluster time
	}
	r.lastBatch++
	if err := m.replica.Propose(m.now(), r.lastBatch, nil); err != nil && !errors.Is(err, replica.ErrNoLeader) {
		m.fail(err)
		return
	}
	r.handOut()
}

// pack packs the commands of the next entry, and returns how many proposals it took.
func (r *raftRole) pack(proposals []*proposal) (n int) {
	r.commands = r.commands[:0]
	for size := 0; n < len(proposals) && n < entryCommandsMax; n++ {
		p := proposals[n]
		if size += len(p.command.Payload); n > 0 && (size > entryBytesMax || p.change != nil) {
			break
		}
		r.commands = append(r.commands, p.command)
		if p.change != nil {
			return 1
		}
	}
	return n
}
