package member

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"cairn/internal/alarm"
	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/member/compactor"
	"cairn/internal/member/expiry"
	"cairn/internal/member/integrity"
	"cairn/internal/member/keepalive"
	"cairn/internal/member/quota"
	"cairn/internal/member/reconfigure"
	"cairn/internal/membership"
	"cairn/internal/mvcc"
	"cairn/internal/replica"
)

// The parts beside the roles are in separate packages: expiry, keepalive, quota, integrity,
// reconfigure and compactor. Each declares the interface that it needs of the member; host
// implements them.

// start makes the parts. The transport must exist.
func (h host) start() {
	m := h.m
	m.Overviews = Overviews{m}
	m.calls.Register(overviewPath, m.Overviews.serve)
	m.Everywhere = Everywhere{m}
	m.calls.Register(logoutPath, m.Everywhere.serveLogout)
	m.calls.Register(moveLeaderPath, m.Everywhere.serveMoveLeader)
	m.Space = quota.New(quota.Options{ID: m.cfg.ID, Bytes: m.cfg.QuotaBytes, Store: m.stateStore, Member: h, Log: m.log})
	m.Checks = integrity.New(integrity.Options{ID: m.cfg.ID, Member: h, State: h, Calls: m.calls, Stopped: h.stopped, Log: m.log})
	m.Changes = reconfigure.New(reconfigure.Options{
		ID: m.cfg.ID, Member: h, Leader: h, Connections: m.calls,
		LearnersMax: m.cfg.LearnersMax, Strict: m.cfg.StrictReconfig, AutoPromote: m.cfg.LearnerAutoPromote,
		Timeout: m.requestTimeout(), ErrTimeout: ErrTimeout, NotLeader: ErrNotLeader, Promoted: h.promoted, Log: m.log,
		Retry: func(err error) bool { return errors.Is(err, ErrLeaderChanged) },
	})
}

// startRenewals makes the part that renews leases. It is called before the first entry is applied.
func (h host) startRenewals() {
	m := h.m
	m.Renewer = keepalive.New(keepalive.Options{
		ID: m.cfg.ID, Member: h, Keys: m.Keys(), Calls: m.calls, CallTimeout: m.electionTimeout(), Running: m.running,
	})
	m.machine.OnLeases(m.Promises().Applied)
}

// runExpiry is the goroutine of the part that expires nodes and leases.
func (h host) runExpiry() {
	m := h.m
	defer m.wg.Done()
	x := expiry.New(expiry.Options{
		Member: host{m}, Keys: m.Keys(), Leases: m.Renewer, ElectionTimeout: m.electionTimeout(), Log: m.log, LeaseExpired: m.metrics.LeasesExpired.Inc,
	})
	if err := x.Run(m.running); err != nil {
		m.fail(err)
	}
}

// runHousekeeping does the periodic checks, once a second.
func (h host) runHousekeeping() {
	m := h.m
	defer m.wg.Done()
	defer m.Space.Wait()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	var majority majorityLog
	for {
		majority.look(m)
		if err := m.dir.check(); err != nil {
			m.fail(err)
			return
		}
		m.Space.Tend(m.running)
		m.Changes.PromoteLearners(m.running)
		select {
		case <-ticker.C:
		case <-m.Space.Wake():
		case <-m.running.Done():
			return
		}
	}
}

// RunAutoCompaction compacts history by a policy until the context ends or the member stops.
func (m *Member) RunAutoCompaction(ctx context.Context, p compactor.Policy) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(m.running, cancel)
	defer stop()
	compactor.Run(ctx, p, host{m}, m.Keys(), m.log)
}

// host is the member as its parts see it.
type host struct{ m *Member }

func (h host) Leads() bool                                { return h.m.leads.Load() }
func (h host) Members() []membership.Member               { return h.m.Members() }
func (h host) WasRemoved(id uint64) bool                  { return h.m.WasRemoved(id) }
func (h host) Alarms() *alarm.State                       { return h.m.Alarms() }
func (h host) CompactRevision() int64                     { return h.m.Keys().Head().CompactRevision }
func (h host) WaitLinearizable(ctx context.Context) error { return h.m.WaitLinearizable(ctx) }

// stopped returns ErrStopped once the member stops or has failed.
func (h host) stopped() error {
	if h.m.done() {
		return ErrStopped
	}
	return nil
}

// SignalAlarm proposes to raise or clear one of the member's own alarms. It may be lost: a caller
// must check later, and call again.
func (h host) SignalAlarm(ctx context.Context, action alarm.Action, kind alarm.Kind, id uint64) {
	_, err := h.m.ChangeAlarm(ctx, &alarm.Command{Action: action, Kind: kind, Member: id})
	log := h.m.log.With("alarm", kind.String(), "member_id", id)
	switch {
	case err != nil:
		log.Warn("signal alarm", "error", err)
	case action == alarm.Raise:
		log.Warn("alarm raised")
	default:
		log.Info("alarm lifted")
	}
}

// HashState implements integrity.State.
func (h host) HashState(pause func() error) (sum uint32, revision int64, err error) {
	return h.m.machine.Hash(pause)
}

// Hash implements integrity.State.
func (h host) Hash(revision int64, pause func() error) (mvcc.Hash, error) {
	return h.m.Keys().Hash(revision, pause)
}

// HashKeys implements integrity.State.
func (h host) HashKeys(revision int64, pause func() error) (mvcc.Hash, error) {
	return h.m.Keys().HashKeys(revision, pause)
}

// Compact implements compactor.Member.
func (h host) Compact(ctx context.Context, revision int64) error {
	_, err := h.m.Propose(ctx, machine.KindAutoCompact, machine.AppendCompact(nil, revision))
	return err
}

// MayExpire implements expiry.Member. While the alarm CORRUPT is raised nothing expires, as in
// etcd; nor during a migration, in which leases expire in the other cluster.
func (h host) MayExpire() bool {
	return h.m.leads.Load() && h.m.Alarms().MayChange() == nil && h.m.Migration().MayChange() == nil
}

// ClusterTimes implements expiry.Member.
func (h host) ClusterTimes() (now, applied kv.ClusterTime) {
	return h.m.ClusterTime(), h.m.machine.ClusterTime()
}

// ProposeClusterTime implements expiry.Member.
func (h host) ProposeClusterTime() {
	h.m.raft.do(h.m.raft.proposeClusterTime)
	h.m.passOn()
}

// ProposeAll implements expiry.Member. The commands share one entry.
func (h host) ProposeAll(ctx context.Context, commands []expiry.Command) (results []error, err error) {
	waiting := make([]*proposal, 0, len(commands))
	for _, c := range commands {
		p, err := h.m.inbox.submit(ctx, c.Kind, c.Payload, h.m.now())
		if err != nil {
			break // the backlog is full, or the member stops
		}
		waiting = append(waiting, p)
	}
	h.m.advance()
	for _, p := range waiting {
		select {
		case <-p.done:
			results = append(results, errors.Join(p.err, p.result.Err))
		case <-ctx.Done():
			return results, ErrStopped
		}
	}
	return results, nil
}

// Clock implements keepalive.Member.
func (h host) Clock() keepalive.Clock {
	if c := h.m.replica.Clock(); c != nil {
		return c
	}
	return nil
}

// At implements keepalive.Member.
func (h host) At(c keepalive.Clock) kv.ClusterTime {
	return c.(*replica.Clock).Time(h.m.now(), h.m.machine.ClusterTime())
}

// Leader implements keepalive.Member.
func (h host) Leader() uint64 { return h.m.Leader() }

// ReadsAtOnce implements keepalive.Member.
func (h host) ReadsAtOnce() bool { return h.m.readable.Load() }

// MayRenew implements keepalive.Member. During a migration leases live in the other cluster.
func (h host) MayRenew() error {
	if !h.m.extensions.known(h.m.Members()) {
		return keepalive.ErrByCommand
	}
	return h.m.Migration().MayChange()
}

// Propose implements keepalive.Member.
func (h host) Propose(ctx context.Context, kind machine.Kind, payload []byte) (*machine.Result, error) {
	return h.m.Propose(ctx, kind, payload)
}

// ProposeOwn implements keepalive.Member. The command has no actor, also while authentication is
// enabled.
func (h host) ProposeOwn(ctx context.Context, kind machine.Kind, payload []byte) error {
	p, err := h.m.inbox.submit(ctx, kind, payload, h.m.now())
	if err != nil {
		return err
	}
	h.m.advance()
	select {
	case <-p.done:
		p.received()
		return errors.Join(p.err, p.result.Err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// knownExtensions remembers which members were last found to support extensions of leases: every
// renewal needs to know it.
type knownExtensions struct {
	members atomic.Pointer[membership.Member]
}

func (k *knownExtensions) known(members []membership.Member) bool {
	if len(members) > 0 && k.members.Load() == &members[0] {
		return true
	}
	if !membership.KnowStillChanges(members) {
		return false
	}
	if len(members) > 0 {
		k.members.Store(&members[0])
	}
	return true
}

// ProposeChange implements reconfigure.Member. A change that has not been applied within two
// election timeouts may have been lost. A removed member may never learn that its removal was
// committed, since the leader sends it nothing afterwards; the other members refuse its messages,
// and then it has been removed, whatever became of the command.
func (h host) ProposeChange(ctx context.Context, c *membership.Command) error {
	m := h.m
	kind, payload := machine.KindMembership, c.Append(nil)
	if m.gate.State().Enabled {
		kind, payload = onBehalf(ctx, kind, payload)
	}
	p, err := m.inbox.submitChange(ctx, kind, payload, machine.NewChange(c), m.now())
	if err != nil {
		return err
	}
	m.advance()
	patience := time.NewTimer(2 * m.electionTimeout())
	defer patience.Stop()
	select {
	case <-p.done:
		if p.err != nil && m.isRemoved() && c.Kind == membership.KindRemove && c.ID == m.cfg.ID {
			return nil
		}
		return errors.Join(p.err, p.result.Err)
	case <-patience.C:
		return reconfigure.ErrNotApplied
	case <-ctx.Done():
		return ctx.Err()
	case <-m.running.Done():
		return ErrStopped
	}
}

// promoted counts an attempt to promote a learner.
func (h host) promoted(err error) {
	if err == nil {
		h.m.metrics.LearnersPromoted.Inc()
		return
	}
	reason := "other"
	for _, known := range []error{
		membership.ErrNotFound, membership.ErrNotLearner, reconfigure.ErrLearnerNotReady, reconfigure.ErrNotEnoughStarted, ErrTimeout,
	} {
		if errors.Is(err, known) {
			reason = known.Error()
			break
		}
	}
	h.m.metrics.LearnerPromoteFailed(reason)
}
