package replica

import (
	"encoding/binary"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// ReadIndex requests from the leader the index that must be applied before a linearizable read. The
// response comes in a Work, with the same id, or is lost.
func (r *Replica) ReadIndex(id uint64) {
	r.requestIndex(&raftpb.Message{
		Type: raftpb.MsgReadIndex.Enum(), Entries: []*raftpb.Entry{{Data: binary.BigEndian.AppendUint64(nil, id)}},
	})
}

// requestIndex passes raft a request for the index of linearizable reads, of this member or of a
// follower. A new leader does not know its predecessors' commit index until the first entry of its
// own term is committed. Raft defers requests until then, except in a cluster of one voter, whose
// stored commit index may be too old as well, since it is written with the next append.
func (r *Replica) requestIndex(m *raftpb.Message) {
	if s := r.raw.BasicStatus(); s.RaftState == raft.StateLeader && r.machine.AppliedTerm() != s.GetTerm() {
		r.early = append(r.early, m)
		return
	}
	_ = r.raw.Step(m) // on an error the requester times out and retries
}

// requestEarly passes the requests that arrived too early to raft again.
func (r *Replica) requestEarly() {
	early := r.early
	r.early = nil
	for _, m := range early {
		if r.Leads() || m.GetFrom() == 0 {
			r.requestIndex(m)
		}
	}
}
