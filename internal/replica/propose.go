package replica

import (
	"errors"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/machine"
)

// ErrNoLeader reports that no member can accept a proposal now.
var ErrNoLeader = errors.New("no leader")

// Command is one request as encoded in a proposal.
type Command struct {
	Kind    machine.Kind
	Payload []byte
}

// ProposalTerm returns the term in which the next proposal is made. Only in that term can its entry
// be appended to the leader's log: when an entry of a later term has been applied, and the proposal
// has not, it never will be.
func (r *Replica) ProposalTerm() uint64 {
	if r.mayDiffer {
		return r.raw.BasicStatus().GetTerm()
	}
	return r.Term()
}

// Propose packs commands into one entry. now is the caller's monotonic clock. It
// returns ErrNoLeader when the entry was not accepted; an accepted entry may still be
// lost with its leader.
func (r *Replica) Propose(now time.Duration, batch uint64, commands []Command) error {
	r.forwardedIn = r.ProposalTerm()
	return refusal(r.raw.Propose(r.entryData(now, batch, commands)))
}

// ProposeChange is Propose for a command that changes the raft configuration: it is alone in its
// entry, and change is the configuration change for raft (machine.NewChange). One change can be in
// progress at a time: raft drops a further one silently.
func (r *Replica) ProposeChange(now time.Duration, batch uint64, command Command, change *raftpb.ConfChangeV2) error {
	if r.mustTransfer(change) {
		return ErrNoLeader
	}
	r.forwardedIn = r.ProposalTerm()
	change.Context = r.entryData(now, batch, []Command{command})
	return refusal(r.raw.ProposeConfChange(change))
}

func (r *Replica) entryData(now time.Duration, batch uint64, commands []Command) []byte {
	size := 32
	for _, c := range commands {
		size += len(c.Payload) + 6
	}
	h := machine.Header{Time: r.Clock().Time(now, r.machine.ClusterTime()), Origin: r.id, Batch: batch}
	data := h.Append(make([]byte, 0, size))
	for _, c := range commands {
		data = machine.AppendCommand(data, c.Kind, c.Payload)
	}
	return data
}

func refusal(err error) error {
	if errors.Is(err, raft.ErrProposalDropped) {
		return ErrNoLeader
	}
	return err
}

// mustTransfer reports whether this leader must transfer leadership instead of proposing a change:
// one that removes it. A removed leader sends nothing more, and the remaining one of two voters
// might never learn that the change was committed.
func (r *Replica) mustTransfer(change *raftpb.ConfChangeV2) bool {
	for _, c := range change.GetChanges() {
		if c.GetType() != raftpb.ConfChangeRemoveNode || c.GetNodeId() != r.id {
			continue
		}
		if to := r.Successor(); to != 0 {
			r.TransferLeadership(to)
			return true
		}
	}
	return false
}
