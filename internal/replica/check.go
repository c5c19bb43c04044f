package replica

import (
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/machine"
	"cairn/internal/membership"
)

// Raft trusts its peers: a message that no correct member sends can make it panic. So messages of
// peers are checked first. The transport (package peer) checks that a message comes from the member
// that it names.

// ErrBadMessage is wrapped by the errors of CheckMessage.
var ErrBadMessage = errors.New("refused message of a peer")

// termJumpMax is the maximum by which a message's term may exceed this replica's. Terms grow by one
// per election, and one election per second would take 136 years.
const termJumpMax = 1 << 32

// CheckMessage returns an error wrapping ErrBadMessage when m cannot come from a correct member of
// the cluster. It must be called before Step for each message of a peer. Any goroutine may call it.
//
// A sender unknown to this replica may be a member that was added while the replica was
// disconnected. Its messages as a leader or candidate are accepted, since possibly no other member
// can inform the replica of its lag; proposals and responses of unknown senders are refused.
func (r *Replica) CheckMessage(m *raftpb.Message) error {
	if err := r.checkSender(m); err != nil {
		return err
	}
	if err := r.checkTerm(m); err != nil {
		return err
	}
	switch m.GetType() {
	case raftpb.MsgProp:
		return r.checkProposal(m)
	case raftpb.MsgReadIndex, raftpb.MsgReadIndexResp:
		if len(m.Entries) != 1 || len(m.Entries[0].GetData()) != 8 {
			return refuse(m, "want one entry of 8 bytes")
		}
	case raftpb.MsgHeartbeat:
		if last := r.lastIndex(); m.GetCommit() > last {
			return refuse(m, "commit index %d, the log ends at %d", m.GetCommit(), last)
		}
	case raftpb.MsgApp:
		return checkAppend(m)
	case raftpb.MsgAppResp:
		if last := max(r.lastIndex(), r.handedOut.Load()); m.GetIndex() > last {
			return refuse(m, "index %d, the log ends at %d", m.GetIndex(), last)
		}
	case raftpb.MsgSnap:
		return r.checkSnapshot(m)
	case raftpb.MsgTimeoutNow:
		// The leader sends it to a member that has acknowledged its log, and so knows it.
		if leader := r.leader.Load(); m.GetFrom() != leader {
			return refuse(m, "the leader is member %x", leader)
		}
	}
	return nil
}

func (r *Replica) lastIndex() uint64 {
	last, _ := r.log.LastIndex() // it is in memory
	return last
}

// refuse returns the error for a message.
func refuse(m *raftpb.Message, format string, args ...any) error {
	return fmt.Errorf("%w: %v from member %x: %s", ErrBadMessage, m.GetType(), m.GetFrom(), fmt.Sprintf(format, args...))
}

func (r *Replica) checkSender(m *raftpb.Message) error {
	from := m.GetFrom()
	switch {
	case from == raft.None, from == r.id, raft.IsLocalMsgTarget(from):
		return refuse(m, "it is not another member's ID")
	case m.GetTo() != r.id:
		return refuse(m, "it is for member %x", m.GetTo())
	case r.machine.Removed(from):
		return refuse(m, "the member was removed")
	}
	switch m.GetType() {
	case raftpb.MsgApp, raftpb.MsgHeartbeat, raftpb.MsgSnap, raftpb.MsgVote, raftpb.MsgPreVote:
		return nil
	case raftpb.MsgProp, raftpb.MsgReadIndex, raftpb.MsgAppResp, raftpb.MsgHeartbeatResp, raftpb.MsgVoteResp, raftpb.MsgPreVoteResp,
		raftpb.MsgReadIndexResp, raftpb.MsgTransferLeader, raftpb.MsgTimeoutNow:
		if _, known := membership.Find(r.machine.Members(), from); !known {
			return refuse(m, "it is not a member of the cluster")
		}
		return nil
	default:
		return refuse(m, "peers do not send this type")
	}
}

// checkTerm checks the term of a message, and the fields that its type must have.
func (r *Replica) checkTerm(m *raftpb.Message) error {
	switch m.GetType() {
	case raftpb.MsgProp, raftpb.MsgReadIndex:
		if m.GetTerm() != 0 {
			return refuse(m, "term %d, want none", m.GetTerm())
		}
	default:
		if m.GetTerm() == 0 {
			return refuse(m, "it has no term")
		}
		if own := r.Term(); m.GetTerm() > own && m.GetTerm()-own > termJumpMax {
			return refuse(m, "term %d, this member is in term %d", m.GetTerm(), own)
		}
	}
	if m.GetType() != raftpb.MsgSnap && m.GetSnapshot() != nil {
		return refuse(m, "it carries a snapshot")
	}
	if len(m.Responses) > 0 {
		return refuse(m, "it carries responses")
	}
	return nil
}

// checkProposal checks a proposal that a follower forwards to this member.
func (r *Replica) checkProposal(m *raftpb.Message) error {
	if len(m.Entries) == 0 {
		return refuse(m, "it has no entries")
	}
	for _, e := range m.Entries {
		if err := machine.CheckProposed(e, m.GetFrom()); err != nil {
			return refuse(m, "%v", err)
		}
	}
	return nil
}

// checkAppend checks that entries are consecutive, in terms that do not decrease.
func checkAppend(m *raftpb.Message) error {
	index, term := m.GetIndex(), m.GetLogTerm()
	if index > 1<<62 || term > m.GetTerm() {
		return refuse(m, "entries after entry %d of term %d", index, term)
	}
	for _, e := range m.Entries {
		index++
		if e.GetIndex() != index || e.GetTerm() < term || e.GetTerm() == 0 || e.GetTerm() > m.GetTerm() {
			return refuse(m, "entry %d of term %d after entry %d of term %d", e.GetIndex(), e.GetTerm(), index-1, term)
		}
		term = e.GetTerm()
		switch e.GetType() {
		case raftpb.EntryNormal, raftpb.EntryConfChangeV2:
		default:
			return refuse(m, "entry %d is of type %v", index, e.GetType())
		}
	}
	return nil
}

// checkSnapshot checks the position and the configuration of a snapshot. Its term may be above the
// message's: the stream is the sender's newest state, which may come from a later leader.
func (r *Replica) checkSnapshot(m *raftpb.Message) error {
	meta := m.GetSnapshot().GetMetadata()
	newest := max(m.GetTerm(), r.Term()) + termJumpMax
	if meta.GetIndex() == 0 || meta.GetIndex() > 1<<62 || meta.GetTerm() == 0 || meta.GetTerm() > newest {
		return refuse(m, "snapshot at entry %d of term %d", meta.GetIndex(), meta.GetTerm())
	}
	cs := meta.GetConfState()
	if len(cs.GetVotersOutgoing()) > 0 || len(cs.GetLearnersNext()) > 0 || cs.GetAutoLeave() {
		return refuse(m, "a joint configuration: %v", cs)
	}
	ids := slices.Concat(cs.GetVoters(), cs.GetLearners())
	slices.Sort(ids)
	if len(cs.GetVoters()) == 0 || ids[0] == raft.None || len(slices.Compact(slices.Clone(ids))) != len(ids) {
		return refuse(m, "configuration %v", cs)
	}
	return nil
}
