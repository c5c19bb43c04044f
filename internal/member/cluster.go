package member

import (
	"context"
	"errors"
	"slices"
	"time"

	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/internal/replica"
	"cairn/internal/version"
)

// Members returns the members of the cluster as this one knows them, in the order of
// their IDs. The caller must not change what it gets. After WaitLinearizable it has every
// change that was acknowledged before.
func (m *Member) Members() []membership.Member { return m.machine.Members() }

// V2Counters returns the counts of v2's writes.
func (m *Member) V2Counters() *machine.V2Counters { return m.machine.V2Counters() }

// StartTime returns when this process started the member.
func (m *Member) StartTime() time.Time { return m.start }

// LeaderSince returns when this member got to know the present leader; the zero time
// when it knows none.
func (m *Member) LeaderSince() time.Time {
	if since := m.leaderSince.Load(); since != nil && m.Leader() != 0 {
		return *since
	}
	return time.Time{}
}

// ClusterVersion returns the version that all members understand, empty while none has started.
func (m *Member) ClusterVersion() string { return membership.ClusterVersion(m.Members()) }

// Published reports whether the member's record has this name and these client URLs, and this
// program's version.
func (m *Member) Published(name string, clientURLs []string) bool {
	me, ok := membership.Find(m.Members(), m.cfg.ID)
	return ok && me.Name == name && slices.Equal(me.ClientURLs, clientURLs) && me.Version == version.API
}

// Publish has the member's name and client URLs recorded, and returns when they are: it
// waits for a leader as long as that takes.
func (m *Member) Publish(ctx context.Context, name string, clientURLs []string) error {
	c := membership.Command{Kind: membership.KindPublish, ID: m.cfg.ID, Name: name, ClientURLs: clientURLs, Version: version.API}
	for {
		_, err := m.Propose(ctx, machine.KindMembership, c.Append(nil))
		if !errors.Is(err, ErrTimeout) && !errors.Is(err, replica.ErrNoLeader) {
			return err
		}
	}
}

// IsLearner reports whether this member has no vote.
func (m *Member) IsLearner() bool {
	me, ok := membership.Find(m.Members(), m.cfg.ID)
	return ok && me.Learner
}
