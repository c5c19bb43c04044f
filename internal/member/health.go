package member

import (
	"context"
	"errors"
	"time"

	"cairn/internal/metrics"
)

// healthTimeout bounds how long a health check waits for the cluster.
const healthTimeout = 5 * time.Second

// Healthy returns nil when the member has a leader and a linearizable read succeeds,
// and otherwise what is wrong.
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

// MetricsState returns what the metrics show of the member.
func (m *Member) MetricsState() metrics.State {
	head := m.Keys().Head()
	applied := m.machine.AppliedIndex()
	size, live := m.StateBytes()
	return metrics.State{
		HasLeader: m.Leader() != 0, IsLeader: m.leads.Load(), LeaderChanges: m.leaderChanges.Load(),
		ProposalsCommitted: applied, ProposalsApplied: applied, ProposalsPending: uint64(m.inbox.waiting()),
		CurrentRevision: head.Revision, CompactRevision: head.CompactRevision, Keys: head.Keys(),
		DBTotalBytes: size, DBInUseBytes: live, QuotaBytes: m.cfg.QuotaBytes,
	}
}
