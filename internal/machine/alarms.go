package machine

import (
	"cairn/internal/alarm"
	"cairn/internal/auth"
	"cairn/internal/lease"
	"cairn/internal/membership"
	"cairn/internal/mvcc"
	"cairn/internal/v2tree"
)

// Alarms refuse commands when they are applied, so that every member refuses the same ones. The
// proposer may call Alarms first, to keep commands that would be refused out of the log.

// checkTxnAlarms returns the alarm that refuses a transaction, or nil. A transaction that might put
// something counts as a put, as in etcd.
func (m *Machine) checkTxnAlarms(t *mvcc.TxnOp) error {
	if t.Puts() {
		return m.mayAdd()
	}
	return m.mayChange()
}

// checkV2Alarms returns the alarm that refuses a command of v2, or nil.
func (m *Machine) checkV2Alarms(c *v2tree.Command) error {
	if AddsV2(c.Kind) {
		return m.mayAdd()
	}
	return m.mayChange()
}

// AddsV2 reports whether commands of a kind need space: all but those that remove nodes.
func AddsV2(k v2tree.Kind) bool {
	return k != v2tree.KindDelete && k != v2tree.KindCompareAndDelete && k != v2tree.KindExpire
}

// checkLeaseAlarms returns the alarm that refuses a command of a lease, or nil. Renewals are always
// accepted: they add nothing, and refusing them would delete the leases' keys.
func (m *Machine) checkLeaseAlarms(c *lease.Command) error {
	switch c.Kind {
	case lease.KindGrant:
		return m.mayAdd()
	case lease.KindRenew, lease.KindExtend:
		return m.migration.Next().MayChange()
	default:
		return m.mayChange()
	}
}

// applyAlarm runs a command on alarms. Alarms exist only for members, and for 0, an unknown member,
// which bounds their number.
func (m *Machine) applyAlarm(c *alarm.Command, subject *auth.Subject) ([]alarm.Alarm, error) {
	if !c.Own() {
		if err := needRoot(subject); err != nil {
			return nil, err
		}
	}
	if c.Action == alarm.Activate || c.Action == alarm.Raise {
		if _, ok := membership.Find(m.members.Next(), c.Member); !ok && c.Member != 0 {
			return nil, membership.ErrNotFound
		}
	}
	if a, ok := m.alarms.Apply(m.b, c); ok {
		return []alarm.Alarm{a}, nil
	}
	return nil, nil
}

// forgetAlarms removes the alarms of a removed member, which can no longer clear them.
func (m *Machine) forgetAlarms(id uint64) {
	for _, kind := range []alarm.Kind{alarm.NoSpace, alarm.Corrupt} {
		m.alarms.Apply(m.b, &alarm.Command{Action: alarm.Deactivate, Kind: kind, Member: id})
	}
}
