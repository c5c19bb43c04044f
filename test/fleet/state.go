package fleet

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Status requests a member's status.
func (f *Fleet) Status(ctx context.Context, m *Member) (*clientv3.StatusResponse, error) {
	c, err := f.Connect(m)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return c.Status(ctx, m.ClientURL())
}

// Leader waits until a running member reports that it is the leader and a majority agrees, and
// returns that member.
func (f *Fleet) Leader(ctx context.Context) (leader *Member, err error) {
	err = until(ctx, "a leader", func() error {
		leader, err = f.leader(ctx)
		return err
	})
	return leader, err
}

func (f *Fleet) leader(ctx context.Context) (*Member, error) {
	votes := map[uint64]int{}
	members := f.Members()
	for _, m := range f.Running() {
		if m.Paused() {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, patience)
		s, err := f.Status(ctx, m)
		cancel()
		if err == nil && s.Leader != 0 {
			votes[s.Leader]++
		}
	}
	for _, m := range members {
		if votes[m.ID()] > len(members)/2 {
			return m, nil
		}
	}
	return nil, fmt.Errorf("the members take for the leader: %x", votes)
}

// Converged waits until all members run and have one revision, and returns it with the hash of the
// keys, which must be equal on all of them; otherwise the error wraps ErrDiverged. No client may
// write meanwhile.
func (f *Fleet) Converged(ctx context.Context) (revision int64, hash uint32, err error) {
	err = until(ctx, "all members to be at one revision", func() error {
		revision, err = f.commonRevision(ctx)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	var first *Member
	for _, m := range f.Members() {
		c, err := f.Connect(m)
		if err != nil {
			return 0, 0, err
		}
		resp, err := c.HashKV(ctx, m.ClientURL(), revision)
		_ = c.Close()
		if err != nil {
			return 0, 0, fmt.Errorf("hash of %s at revision %d: %w", m.Name, revision, err)
		}
		if first == nil {
			first, hash = m, resp.Hash
		}
		if resp.Hash != hash {
			return 0, 0, fmt.Errorf("%w: at revision %d %s has the hash %x, and %s has %x", ErrDiverged, revision, first.Name, hash, m.Name, resp.Hash)
		}
	}
	return revision, hash, nil
}

// ErrDiverged reports that members hold different keys at one revision.
var ErrDiverged = errors.New("members have diverged")

func (f *Fleet) commonRevision(ctx context.Context) (revision int64, err error) {
	for _, m := range f.Members() {
		ctx, cancel := context.WithTimeout(ctx, patience)
		s, err := f.Status(ctx, m)
		cancel()
		switch {
		case err != nil:
			return 0, fmt.Errorf("status of %s: %w", m.Name, err)
		case revision == 0:
			revision = s.Header.Revision
		case s.Header.Revision != revision:
			return 0, fmt.Errorf("%s is at revision %d, another one at %d", m.Name, s.Header.Revision, revision)
		}
	}
	return revision, nil
}
