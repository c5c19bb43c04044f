package member

import (
	"context"
	"errors"
	"slices"

	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/internal/migration"
	"cairn/internal/replica"
	"cairn/internal/version"
)

// Records are the members of the cluster as of the last entry that this member has applied.
type Records struct {
	id      uint64 // of this member
	machine *machine.Machine
	propose func(ctx context.Context, kind machine.Kind, payload []byte) (*machine.Result, error)
}

// Members returns the members, sorted by ID. The caller must not modify them. After
// WaitLinearizable it contains every change that was acknowledged before.
func (r *Records) Members() []membership.Member { return r.machine.Members() }

// Migration returns the progress of a migration from another cluster. The caller must not modify
// it.
func (r *Records) Migration() *migration.State { return r.machine.Migration() }

// ClusterVersion returns the highest version that all members support, empty while none has
// started.
func (r *Records) ClusterVersion() string { return membership.ClusterVersion(r.Members()) }

// Published reports whether this member's record has this name, these client URLs and this
// program's version.
func (r *Records) Published(name string, clientURLs []string) bool {
	me, ok := membership.Find(r.Members(), r.id)
	return ok && me.Name == name && slices.Equal(me.ClientURLs, clientURLs) && me.Version == version.API
}

// Publish records this member's name, client URLs and version. It waits for a leader until the
// context ends.
func (r *Records) Publish(ctx context.Context, name string, clientURLs []string) error {
	c := membership.Command{Kind: membership.KindPublish, ID: r.id, Name: name, ClientURLs: clientURLs, Version: version.API}
	for {
		_, err := r.propose(ctx, machine.KindMembership, c.Append(nil))
		if !errors.Is(err, ErrTimeout) && !errors.Is(err, replica.ErrNoLeader) {
			return err
		}
	}
}

// IsLearner reports whether this member has no vote.
func (r *Records) IsLearner() bool {
	me, ok := membership.Find(r.Members(), r.id)
	return ok && me.Learner
}

// WasRemoved reports whether the member with the ID was removed from the cluster.
func (r *Records) WasRemoved(id uint64) bool { return r.machine.Removed(id) }

// find returns the record of a member.
func (r *Records) find(id uint64) (membership.Member, bool) { return membership.Find(r.Members(), id) }
