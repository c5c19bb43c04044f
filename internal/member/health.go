package member

import (
	"context"
	"errors"
	"time"

	"cairn/internal/alarm"
	"cairn/internal/metrics"
	"cairn/internal/mvcc"
)

// healthTimeout limits the wait of a health check for the cluster.
const healthTimeout = 5 * time.Second

// Healthy returns nil when the member has a leader and a linearizable read succeeds, and otherwise
// the reason.
func (m *Member) Healthy(ctx context.Context) error {
	if err := m.Err(); err != nil {
		return err
	}
	if m.Leader() == 0 {
		return errors.New("no leader")
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	return m.WaitLinearizable(ctx)
}

// MetricsState returns the member's values for the metrics.
func (m *Member) MetricsState() metrics.State {
	head := m.Keys().Head()
	applied := m.machine.AppliedIndex()
	size, live := m.StateBytes()
	load := m.hub.Load()
	var alarms []metrics.Alarm
	for _, a := range m.Alarms().List(alarm.None) {
		alarms = append(alarms, metrics.Alarm{Member: a.Member, Kind: a.Kind.String()})
	}
	return metrics.State{
		HasLeader: m.Leader() != 0, IsLeader: m.leads.Load(), LeaderChanges: m.leaderChanges.Load(),
		ProposalsCommitted: max(applied, m.replica.CommitIndex()), ProposalsApplied: applied, ProposalsPending: uint64(m.inbox.waiting()),
		LogBytesWritten: m.logStore.JournalBytes(), AuthRevision: m.gate.State().Revision, Alarms: alarms,
		CurrentRevision: head.Revision, CompactRevision: head.CompactRevision, Keys: head.Keys(),
		Watchers: m.hub.Watchers(), WatchStreams: int64(load.Streams), WatchersBehind: int64(load.Behind), EventsPending: int64(load.Events),
		DBTotalBytes: size, DBInUseBytes: live, QuotaBytes: m.cfg.QuotaBytes,
	}
}

// slowReadIndex is the duration above which the confirmation of a read counts as slow.
const slowReadIndex = time.Second

// count counts the changes of a batch.
func (r *applyRole) count(t mvcc.Tally) {
	m := r.m
	if t.Events == 0 {
		return
	}
	m.metrics.Events.Add(float64(t.Events))
	m.metrics.Puts.Add(float64(t.Puts))
	m.metrics.PutBytes.Add(float64(t.PutBytes))
	m.metrics.Deletes.Add(float64(t.Deletes))
}
