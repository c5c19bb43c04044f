package member

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"cairn/internal/alarm"
	"cairn/internal/machine"
)

// space is what a member knows of its quota. All but wake, busy and swept belongs to housekeeping,
// or while busy is set to the goroutine that reclaims.
type space struct {
	full bool          // the state has outgrown the quota, when it was last checked
	wake chan struct{} // has room for one: the state has outgrown the quota since then

	reclaiming sync.WaitGroup
	busy       atomic.Bool   // space is being reclaimed
	until      time.Duration // when it may be reclaimed again, on the member's clock
	seen       int64         // swept when it was last reclaimed
	swept      atomic.Int64  // the compact revision up to which nothing is left to be swept
}

// signal has the space checked soon.
func (s *space) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// StateBytes returns the size of the state, in files and in memory, and how much of that is in use.
func (m *Member) StateBytes() (total, inUse int64) {
	t, u := m.stateStore.Size()
	return int64(t), int64(u)
}

// QuotaBytes returns --quota-backend-bytes; 0 is none.
func (m *Member) QuotaBytes() int64 { return max(m.cfg.QuotaBytes, 0) }

// checkSpace compares the state's size with its quota, and sees to it that the cluster knows: by an
// alarm, which this member lifts again when space is back.
func (m *Member) checkSpace() {
	over := false
	if m.cfg.QuotaBytes > 0 {
		m.stateStore.Measure()
		size, _ := m.StateBytes()
		over = size > m.cfg.QuotaBytes
		if m.space.full != over {
			m.space.full = over
			if over {
				m.log.Warn("state outgrew its quota: writes that add data are refused until space is back",
					"bytes", size, "quota_bytes", m.cfg.QuotaBytes)
			} else {
				m.log.Info("state is below its quota again", "bytes", size, "quota_bytes", m.cfg.QuotaBytes)
			}
		}
	}
	raised, ok := m.Alarms().Find(alarm.NoSpace, m.cfg.ID)
	switch {
	case over && !ok:
		m.signalAlarm(alarm.Raise, alarm.NoSpace, m.cfg.ID)
	case !over && ok && raised.Own:
		m.signalAlarm(alarm.Lift, alarm.NoSpace, m.cfg.ID)
	}
	if over {
		m.reclaim()
	}
}

// reclaim gives back what a compaction has removed, as long as writes are refused for want of room:
// the storage engine by itself would wait until it is worth while. It takes at most a fifth of the
// time. Without a compaction since the last time there is nothing to give back.
func (m *Member) reclaim() {
	swept := m.space.swept.Load()
	if m.space.busy.Load() || swept == m.space.seen || m.now() < m.space.until {
		return
	}
	m.space.busy.Store(true)
	m.space.seen = swept
	ctx, cancel := m.whileRunning()
	began := m.now()
	m.space.reclaiming.Go(func() {
		defer cancel()
		if err := m.stateStore.Reclaim(ctx); err != nil && ctx.Err() == nil {
			m.log.Warn("reclaim space", "error", err)
		}
		m.space.until = m.now() + 4*(m.now()-began)
		m.space.busy.Store(false)
	})
}

// whileRunning returns a context that ends with the member.
func (m *Member) whileRunning() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		select {
		case <-m.stopping:
		case <-m.failed:
		case <-ctx.Done():
		}
		cancel()
	}()
	return ctx, cancel
}

// CheckSpace returns alarm.ErrNoSpace or ErrCorrupt when nothing is taken that adds data. Requests
// that do ask it, to spare the log what would be refused.
func (m *Member) CheckSpace() error {
	if err := m.Alarms().MayAdd(); err != nil {
		return err
	}
	if m.cfg.QuotaBytes <= 0 {
		return nil
	}
	if size, _ := m.StateBytes(); size > m.cfg.QuotaBytes {
		m.space.signal() // the other members get to know by an alarm
		return alarm.ErrNoSpace
	}
	return nil
}

// Alarms returns the alarms of the cluster as this member knows them. After WaitLinearizable they
// have every change that was acknowledged before.
func (m *Member) Alarms() *alarm.State { return m.machine.Alarms() }

// ChangeAlarm has a command on alarms applied, and returns the alarm that it has raised or lifted.
func (m *Member) ChangeAlarm(ctx context.Context, c *alarm.Command) ([]alarm.Alarm, error) {
	res, err := m.Propose(ctx, machine.KindAlarm, c.Append(nil))
	if err != nil {
		return nil, err
	}
	return res.Alarms, nil
}

// signalAlarm has an alarm of the member's own making raised or lifted. When that fails it is tried
// again by whoever sees that it has not happened.
func (m *Member) signalAlarm(do alarm.Action, kind alarm.Kind, id uint64) {
	ctx, cancel := m.whileRunning()
	defer cancel()
	_, err := m.ChangeAlarm(ctx, &alarm.Command{Action: do, Kind: kind, Member: id})
	switch {
	case err != nil:
		m.log.Warn("signal alarm", "alarm", kind.String(), "member_id", id, "error", err)
	case do == alarm.Raise:
		m.log.Warn("alarm raised", "alarm", kind.String(), "member_id", id)
	default:
		m.log.Info("alarm lifted", "alarm", kind.String(), "member_id", id)
	}
}
