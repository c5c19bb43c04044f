package replica

import (
	"math"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"
)

// Keep is what Truncate leaves of the entries that the state has on disk, for followers that lack
// them. The zero value is nothing.
type Keep struct {
	// Entries and Bytes limit what is kept for members that are away.
	Entries, Bytes uint64
	// FollowedBytes limits what this leader keeps, beyond these limits, for a follower that it is
	// sending entries or a snapshot to. Such a follower would otherwise need another snapshot.
	FollowedBytes uint64
}

// Truncate removes the log entries that neither the state nor an outgoing snapshot needs, except
// the newest, as keep says. The log writer calls it.
func (r *Replica) Truncate(keep Keep) error {
	durable, err := r.machine.DurableIndex()
	if err != nil {
		return err
	}
	index := r.log.Newest(durable, keep.Entries, keep.Bytes)
	if followed := r.followed.Load(); followed < index {
		index = min(index, r.log.Newest(durable, durable-followed, keep.FollowedBytes))
	}
	return r.log.Truncate(r.snapshots.needed(index))
}

// updateFollowed updates the index up to which all active followers have the log, or get it by a
// snapshot. The raft loop calls it before each tick.
//
// Once in an election timeout raft counts all followers as inactive until their next response. So a
// follower counts that was active at this tick or at the previous one.
func (r *Replica) updateFollowed() {
	followed := uint64(math.MaxUint64)
	if r.Leads() {
		r.raw.WithProgress(func(id uint64, _ raft.ProgressType, p tracker.Progress) {
			switch {
			case id == r.id || !p.RecentActive:
			case p.State == tracker.StateReplicate:
				followed = min(followed, p.Match)
			default:
				followed = min(followed, p.Next-1) // that of the snapshot, while and after it is sent
			}
		})
	}
	r.followed.Store(min(followed, r.followedBefore))
	r.followedBefore = followed
}
