package machine

import "cairn/internal/lease"

// Verified is what Verify has found in a state without a fault.
type Verified struct {
	Revision int64
	Keys     int64
	Leases   int
}

// Verify reads the whole state and compares its tables. The first contradiction is the error. The
// machine must not be applied to meanwhile.
func (m *Machine) Verify() (v Verified, err error) {
	v.Revision = m.pos.revision
	if v.Keys, err = m.keys.Verify(); err != nil {
		return v, err
	}
	v.Leases, err = lease.Verify(m.keys.Reading())
	return v, err
}
