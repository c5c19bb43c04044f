package member

import (
	"context"

	"cairn/internal/mvcc"
)

// HashState returns a checksum of all that the members of a cluster have in common, as of the last
// applied entry, and the revision of that.
func (m *Member) HashState(ctx context.Context) (sum uint32, revision int64, err error) {
	return m.machine.Hash(func() error { return m.ended(ctx) })
}

// HashKV returns the checksum of the keys and their history as of a revision, 0 being the present
// one. See mvcc.Hash.
func (m *Member) HashKV(ctx context.Context, revision int64) (mvcc.Hash, error) {
	return m.Keys().Hash(revision, func() error { return m.ended(ctx) })
}

// ended returns an error once the context or the member has come to its end.
func (m *Member) ended(ctx context.Context) error {
	if m.done() {
		return ErrStopped
	}
	return ctx.Err()
}
