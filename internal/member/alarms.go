package member

import (
	"context"

	"cairn/internal/alarm"
	"cairn/internal/machine"
)

// Alarms returns the alarms of the cluster as of the last entry that this member has applied. After
// WaitLinearizable they include every change that was acknowledged before.
func (m *Member) Alarms() *alarm.State { return m.machine.Alarms() }

// ChangeAlarm proposes a command on alarms, and returns the alarm that it has raised or cleared.
func (m *Member) ChangeAlarm(ctx context.Context, c *alarm.Command) ([]alarm.Alarm, error) {
	res, err := m.Propose(ctx, machine.KindAlarm, c.Append(nil))
	if err != nil {
		return nil, err
	}
	return res.Alarms, nil
}
