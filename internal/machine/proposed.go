package machine

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
)

// CheckProposed is CheckEntry for an entry that another member, the origin, forwards to the leader:
// the entry must also name that origin, and a configuration change must carry one command.
func CheckProposed(e *raftpb.Entry, origin uint64) error {
	h, _, n, change, err := openEntry(e)
	switch {
	case err != nil:
		return err
	case h.Origin != origin:
		return fmt.Errorf("%w: member %x forwards an entry of member %x", ErrBadCommand, origin, h.Origin)
	case change != nil && n != 1:
		return fmt.Errorf("%w: configuration change with %d commands, want 1", ErrBadCommand, n)
	}
	return CheckEntry(e)
}
