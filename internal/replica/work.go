package replica

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/machine"
)

// Read is the applied index at which the reads requested by ReadIndex(ID) may be served.
type Read struct {
	ID    uint64
	Index uint64
}

// Work has the tasks of the roles.
type Work struct {
	Append *raftpb.Message   // for the log writer, or nil
	Apply  *raftpb.Message   // for the applier, or nil
	Send   []*raftpb.Message // for peers, to be sent at once
	Reads  []Read
	// Elected and Deposed report that this replica became the leader or ceased to be it;
	// LeaderChanged reports any change of leader.
	LeaderChanged, Elected, Deposed bool
}

// nextReady returns raft's Ready, and whether it has anything.
func (r *Replica) nextReady() (rd raft.Ready, ok bool) {
	switch {
	case len(r.readies) > 0:
		rd = r.readies[0]
		r.readies = r.readies[1:]
	case r.raw.HasReady():
		rd = r.raw.Ready()
		r.mayDiffer = false // Work takes the term from it
	default:
		r.mayDiffer = false
		return rd, false
	}
	return rd, true
}

// Work returns the work since the last call, and whether there is any. now is the caller's
// monotonic clock.
func (r *Replica) Work(now time.Duration) (w Work, ok bool) {
	r.startClock(now)
	if len(r.early) > 0 {
		r.requestEarly()
	}
	rd, ok := r.nextReady()
	if !ok {
		return w, false
	}
	for _, m := range rd.Messages {
		switch m.GetTo() {
		case raft.LocalAppendThread:
			w.Append = m
			if n := len(m.Entries); n > 0 {
				r.handedOut.Store(m.Entries[n-1].GetIndex())
			}
		case raft.LocalApplyThread:
			w.Apply = m
		default:
			if m.GetType() == raftpb.MsgProp && m.GetFrom() == r.id {
				m.LogTerm = new(r.forwardedIn)
			}
			w.Send = append(w.Send, m)
		}
	}
	for _, s := range rd.ReadStates {
		if len(s.RequestCtx) == 8 {
			w.Reads = append(w.Reads, Read{ID: binary.BigEndian.Uint64(s.RequestCtx), Index: s.Index})
		}
	}
	if !raft.IsEmptyHardState(rd.HardState) {
		r.term.Store(rd.HardState.GetTerm())
		r.commit.Store(rd.HardState.GetCommit())
	}
	if rd.SoftState != nil {
		led := r.Leads()
		w.LeaderChanged = rd.Lead != r.soft.Lead
		r.soft = *rd.SoftState
		r.leader.Store(rd.Lead)
		w.Elected, w.Deposed = !led && r.Leads(), led && !r.Leads()
		if !r.Leads() {
			r.clock.Store(nil)
		}
	}
	return w, true
}

// Append executes appends in order, with one fsync, up to the first that carries a snapshot. It
// returns the responses that are now due, and the remaining messages: the caller passes the first
// of them to Install, and then continues with the others.
func (r *Replica) Append(msgs []*raftpb.Message) (responses, left []*raftpb.Message, err error) {
	n := 0
	for n < len(msgs) && raft.IsEmptySnap(msgs[n].GetSnapshot()) {
		n++
	}
	if n == 0 {
		return nil, msgs, nil
	}
	if err := r.log.Append(msgs[:n]); err != nil {
		return nil, nil, err
	}
	return responsesOf(msgs[:n]), msgs[n:], nil
}

// Applied is the part of an Apply's result for the raft loop; see Finish.
type Applied struct {
	Index     uint64 // of the last entry
	Term      uint64 // of the last entry
	Changes   []*raftpb.ConfChangeV2
	Responses []*raftpb.Message
	// More reports that the batch became large before all entries were applied: the applier must
	// call Apply again, without messages if it has no others, before it installs a snapshot.
	More bool
}

// Apply applies the entries left by an earlier call and then those of msgs, in order, in one batch.
// It returns the batch's result, with the results of the entries that this replica has proposed,
// and the argument for Finish.
func (r *Replica) Apply(msgs []*raftpb.Message) (machine.Applied, Applied, error) {
	for _, m := range msgs {
		r.unapplied.add(m)
	}
	entries := r.unapplied.entries
	batch, err := r.machine.Apply(entries, r.id)
	if err != nil {
		return machine.Applied{}, Applied{}, err
	}
	if len(batch.Changes) > 0 {
		// The voters must be known after a power failure, too. The commit index is not synced, so
		// without this flush the remaining one of two members could wait forever for the vote of
		// the removed one.
		if err := r.machine.Flush(); err != nil {
			return machine.Applied{}, Applied{}, fmt.Errorf("flush a change of the members: %w", err)
		}
	}
	done := Applied{Changes: batch.Changes}
	if n := batch.Entries; n > 0 {
		done.Index, done.Term = entries[n-1].GetIndex(), entries[n-1].GetTerm()
	}
	if done.More = batch.Entries < len(entries); done.More {
		r.unapplied.entries = entries[batch.Entries:]
	} else {
		done.Responses = r.unapplied.responses
		r.unapplied = unapplied{}
	}
	return batch, done, nil
}

// unapplied has the entries that an Apply has left for the next one, and the responses that are due
// when they are applied.
type unapplied struct {
	entries   []*raftpb.Entry
	responses []*raftpb.Message
}

// add adds the entries of a message. It copies nothing if there is only one message.
func (u *unapplied) add(m *raftpb.Message) {
	if len(u.entries) == 0 && len(u.responses) == 0 {
		u.entries, u.responses = m.Entries, m.Responses
		return
	}
	u.entries = append(slices.Clip(u.entries), m.Entries...)
	u.responses = append(slices.Clip(u.responses), m.Responses...)
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

// ReleaseApplied releases the memory of applied entries that no peer waits for.
func (r *Replica) ReleaseApplied() { r.log.Release(r.machine.AppliedIndex()) }
