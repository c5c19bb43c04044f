package member

import "cairn/internal/snapshot"

// Snapshot returns the stream of the whole state of this member as of now, which the caller must
// close. It needs no other member, so that it works also without a leader; Close of the member ends
// it.
func (m *Member) Snapshot() (*snapshot.Source, error) { return m.machine.Snapshot(m.cfg.ClusterID) }
