package replica

import (
	"encoding/binary"
	"fmt"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/machine"
)

// Read says at which applied index the reads asked for by ReadIndex(ID) may be served.
type Read struct {
	ID    uint64
	Index uint64
}

// Work is what the replica wants done.
type Work struct {
	Append *raftpb.Message   // for the log writer, or nil
	Apply  *raftpb.Message   // for the applier, or nil
	Send   []*raftpb.Message // for peers, at once
	Reads  []Read
	// Elected and Deposed tell of a change of leadership of this replica;
	// LeaderChanged of any.
	LeaderChanged, Elected, Deposed bool
}

// nextReady returns what raft wants done, and whether there is anything.
func (r *Replica) nextReady() (rd raft.Ready, ok bool) {
	switch {
	case len(r.readies) > 0:
		rd = r.readies[0]
		r.readies = r.readies[1:]
	case r.raw.HasReady():
		rd = r.raw.Ready()
	default:
		return rd, false
	}
	return rd, true
}

// Work returns what has come to be done since the last call, and whether there
// is anything. now is the caller's monotonic clock.
func (r *Replica) Work(now time.Duration) (w Work, ok bool) {
	r.startClock(now)
	if len(r.early) > 0 {
		r.askEarly()
	}
	rd, ok := r.nextReady()
	if !ok {
		return w, false
	}
	for _, m := range rd.Messages {
		switch m.GetTo() {
		case raft.LocalAppendThread:
			w.Append = m
		case raft.LocalApplyThread:
			w.Apply = m
		default:
			w.Send = append(w.Send, m)
		}
	}
	for _, s := range rd.ReadStates {
		if len(s.RequestCtx) == 8 {
			w.Reads = append(w.Reads, Read{ID: binary.BigEndian.Uint64(s.RequestCtx), Index: s.Index})
		}
	}
	if !raft.IsEmptyHardState(rd.HardState) {
		r.term = rd.HardState.GetTerm()
		r.commit.Store(rd.HardState.GetCommit())
	}
	if rd.SoftState != nil {
		led := r.Leads()
		w.LeaderChanged = rd.Lead != r.soft.Lead
		r.soft = *rd.SoftState
		w.Elected, w.Deposed = !led && r.Leads(), led && !r.Leads()
		if !r.Leads() {
			r.clock = nil
		}
	}
	return w, true
}

// Applied is what an Apply has to tell the raft loop, by Finish.
type Applied struct {
	Index     uint64 // of the last entry
	Changes   []*raftpb.ConfChangeV2
	Responses []*raftpb.Message
}

// Apply applies the entries of msgs in their order, in one batch, and returns
// what the raft loop is to be told.
func (r *Replica) Apply(msgs []*raftpb.Message, waiting machine.Waiting) (Applied, error) {
	var entries []*raftpb.Entry
	if len(msgs) == 1 {
		entries = msgs[0].Entries
	} else {
		for _, m := range msgs {
			entries = append(entries, m.Entries...)
		}
	}
	if err := r.machine.Apply(entries, waiting); err != nil {
		return Applied{}, err
	}
	if len(r.machine.Changes()) > 0 {
		// Who has a vote must be known after a power cut, too. The commit index is not synced, so
		// without this the last member of two would wait for the vote of the one that was removed,
		// for ever.
		if err := r.machine.Flush(); err != nil {
			return Applied{}, fmt.Errorf("flush a change of the members: %w", err)
		}
	}
	var last uint64
	if len(entries) > 0 {
		last = entries[len(entries)-1].GetIndex()
	}
	return Applied{last, r.machine.Changes(), responsesOf(msgs)}, nil
}

func responsesOf(msgs []*raftpb.Message) []*raftpb.Message {
	if len(msgs) == 1 {
		return msgs[0].Responses
	}
	var out []*raftpb.Message
	for _, m := range msgs {
		out = append(out, m.Responses...)
	}
	return out
}

// Truncate removes the log entries that neither the state nor a snapshot on its way to a
// follower needs, but for keep of them. The log writer calls it.
func (r *Replica) Truncate(keep uint64) error {
	durable, err := r.machine.DurableIndex()
	if err != nil {
		return err
	}
	if durable <= keep {
		return nil
	}
	return r.log.Truncate(r.snapshots.needed(durable - keep))
}

// ReleaseApplied lets go of the memory of applied entries that no peer waits for.
func (r *Replica) ReleaseApplied() { r.log.Release(r.machine.AppliedIndex()) }
