package member

import "cairn/internal/snapshot"

// Snapshot returns the stream of the whole state of this member as of now, which must be closed. It
// asks nobody, so that it can be had also where the cluster has no leader; Close of the member ends
// it.
func (m *Member) Snapshot() (*snapshot.Source, error) { return m.machine.Snapshot(m.cfg.ClusterID) }
