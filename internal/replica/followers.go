package replica

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"
)

// Follower is the progress of a member, as the leader knows it.
type Follower struct {
	ID      uint64
	Learner bool
	Match   uint64 // the last entry that it is known to have on disk
	Active  bool   // it responded during the last election timeout
}

// Followers returns the progress of all members, including this one; nil while this replica is not
// the leader.
func (r *Replica) Followers() (followers []Follower) {
	if !r.Leads() {
		return nil
	}
	r.raw.WithProgress(func(id uint64, t raft.ProgressType, p tracker.Progress) {
		followers = append(followers, Follower{
			ID: id, Learner: t == raft.ProgressTypeLearner, Match: p.Match, Active: p.RecentActive || id == r.id,
		})
	})
	return followers
}

// Successor returns the active voter, other than this leader, with the highest matching index; 0
// when there is none, or this replica is not the leader.
func (r *Replica) Successor() (id uint64) {
	match := uint64(0)
	for _, f := range r.Followers() {
		if f.ID != r.id && !f.Learner && f.Active && f.Match >= match {
			id, match = f.ID, f.Match
		}
	}
	return id
}

// TransferLeadership transfers leadership to a voter, once that has caught up. A follower requests
// it from the leader.
func (r *Replica) TransferLeadership(to uint64) { r.raw.TransferLeader(to) }

// ReportUnreachable reports that messages to a peer were lost.
func (r *Replica) ReportUnreachable(id uint64) { r.raw.ReportUnreachable(id) }

// ReportSnapshot reports the result of sending a snapshot to a peer.
func (r *Replica) ReportSnapshot(id uint64, ok bool) {
	status := raft.SnapshotFailure
	if ok {
		status = raft.SnapshotFinish
	}
	r.raw.ReportSnapshot(id, status)
}
