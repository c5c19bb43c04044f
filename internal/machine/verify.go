package machine

import "cairn/internal/lease"

// Verified is the result of Verify for a state without a fault.
type Verified struct {
	Revision int64
	Keys     int64
	Leases   int
}

// Verify reads the whole state and checks its tables against each other. The error is the first
// contradiction. Apply must not be called meanwhile.
func (m *Machine) Verify() (v Verified, err error) {
	v.Revision = m.pos.revision
	if v.Keys, err = m.keys.Verify(); err != nil {
		return v, err
	}
	v.Leases, err = lease.Verify(m.keys.Reading())
	return v, err
}
