package member

import (
	"cairn/internal/replica"
	"cairn/internal/snapshot"
)

// Snapshot returns the stream of the whole state of this member as of now, which the caller must
// close. It needs no other member, so that it works also without a leader; Close of the member ends
// it. Reading it gives way to requests.
func (m *Member) Snapshot() (*snapshot.Source, error) {
	source, err := m.machine.Snapshot(m.cfg.ClusterID)
	if err == nil {
		source.Yield = newYield(m.now)
	}
	return source, err
}

// openSnapshot returns the stream of the current state for another member. Reading it gives way to
// requests.
func openSnapshot(m *Member) (*replica.Outgoing, error) {
	stream, err := m.replica.OpenSnapshot()
	if err == nil {
		stream.Yield = newYield(m.now)
	}
	return stream, err
}
