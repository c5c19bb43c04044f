package machine

import (
	"cairn/internal/alarm"
	"cairn/internal/auth"
	"cairn/internal/lease"
	"cairn/internal/membership"
	"cairn/internal/mvcc"
	"cairn/internal/v2tree"
)

// What alarms refuse is decided as a command is applied, so that every member refuses the same
// ones. The proposer may call Alarms first, to keep commands that would be refused out of the log.

// mayTxn returns the alarm that refuses a transaction: one that might put something counts as a
// put, as in etcd.
func (m *Machine) mayTxn(t *mvcc.TxnOp) error {
	if t.Puts() {
		return m.alarms.Next().MayAdd()
	}
	return m.alarms.Next().MayChange()
}

// mayV2 returns the alarm that refuses a command of v2.
func (m *Machine) mayV2(c *v2tree.Command) error {
	if AddsV2(c.Kind) {
		return m.alarms.Next().MayAdd()
	}
	return m.alarms.Next().MayChange()
}

// AddsV2 reports whether commands of a kind need room: all but those that remove nodes.
func AddsV2(k v2tree.Kind) bool {
	return k != v2tree.KindDelete && k != v2tree.KindCompareAndDelete && k != v2tree.KindExpire
}

// mayLease returns the alarm that refuses a command of a lease. Renewals are always taken: they add
// nothing, and a lease that nobody may renew takes its keys with it.
func (m *Machine) mayLease(c *lease.Command) error {
	switch c.Kind {
	case lease.KindGrant:
		return m.alarms.Next().MayAdd()
	case lease.KindRenew:
		return nil
	default:
		return m.alarms.Next().MayChange()
	}
}

// applyAlarm runs a command on alarms. Only members can have alarms, or 0 for a member that is not
// known, so that there are never more of them than that.
func (m *Machine) applyAlarm(c *alarm.Command, who *auth.Subject) ([]alarm.Alarm, error) {
	if !c.Own() {
		if err := needRoot(who); err != nil {
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
