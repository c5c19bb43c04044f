// Package member drives a replica: the goroutines, the clock and the waiting clients around the
// deterministic core.
//
// The raft loop packs waiting requests into entries and hands out work; the log writer appends all
// accumulated entries with one fsync; the applier applies all committed entries in one batch, and
// completes the requests. While the log writer syncs one batch the applier applies the previous one
// and requests for the next one accumulate, so batches grow with the load. loops.go describes which
// goroutine does the work of a role.
//
//	Propose → inbox → raft loop → log writer → raft loop → applier → the caller of Propose
//
// Invariants: a request is acknowledged only after its entry is durable and applied, and visible to
// readers (applyRole.complete checks the latter); each request gets exactly one result
// (proposal.finish checks it); a failed fsync, or a log that cannot be applied, stops the member.
//
// Concurrency: all methods of Member may be called at the same time. Locks are taken in this order,
// and never in another: the role of the log writer, that of the applier, that of the raft loop, and
// then one of the others (of inbox, workQueue, pendingBatches, reads, sweepWaiters, leaderLost,
// leaderChange and lastTime), under which no other lock is taken and nothing waits.
package member

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"

	"cairn/internal/budget"
	"cairn/internal/machine"
	"cairn/internal/member/integrity"
	"cairn/internal/member/keepalive"
	"cairn/internal/member/quota"
	"cairn/internal/member/reconfigure"
	"cairn/internal/metrics"
	"cairn/internal/migration"
	"cairn/internal/mvcc"
	"cairn/internal/peer"
	"cairn/internal/replica"
	"cairn/internal/storage"
	"cairn/internal/tracing"
	"cairn/internal/watch"
)

// Config configures a member. Dir and ID are required.
type Config struct {
	Dir string     // the directory of the two stores
	FS  storage.FS // the file system; the operating system's when nil
	ID  uint64
	// ClusterID is in the header of snapshots.
	ClusterID uint64

	TickInterval   time.Duration // a heartbeat; --heartbeat-interval
	ElectionTicks  int           // --election-timeout in ticks
	SnapshotCount  uint64        // maximum number of entries applied between flushes of the state
	CatchUpEntries uint64        // entries kept in the log for members that lag

	// Transport makes the connections of m to the other members; h receives their messages. It is
	// called once, before Start returns. It is nil for a member without connections.
	Transport func(m *Member, h peer.Handler) (Transport, Calls)
	// LearnersMax is the maximum number of learners in the cluster; --max-learners.
	LearnersMax uint64
	// StrictReconfig refuses changes of the members after which too few members would be running;
	// --strict-reconfig-check.
	StrictReconfig bool
	// LearnerAutoPromote makes the leader promote learners that have caught up;
	// --learner-auto-promote.
	LearnerAutoPromote bool

	// Memory is what the stores, the log and the queues may take; the zero value is
	// budget.PlanFor(0).
	Memory budget.Plan

	RequestBytesMax int   // --max-request-bytes
	QuotaBytes      int64 // --quota-backend-bytes; 0 means none

	Auth AuthConfig

	// SlowApply is the duration above which the applying of a batch is logged;
	// --warning-apply-duration.
	SlowApply time.Duration

	Logger     *slog.Logger
	RaftLogger raft.Logger
	Metrics    *metrics.Metrics
	Tracer     *tracing.Tracer // may be nil
	// Certificates returns the certificates that the member uses, for Overview; nil for none.
	Certificates func() []metrics.CertificateState
}

// backlogRequestsMax is how many requests may wait for the log at once. Config.Memory limits their
// bytes.
const backlogRequestsMax = 50_000

// Member is one running process of the cluster.
type Member struct {
	// The parts beside the roles. Member has their methods.
	Records
	Access
	*quota.Space
	*reconfigure.Changes
	*integrity.Checks
	Overviews
	Everywhere
	*keepalive.Renewer
	*Removal

	cfg     Config
	log     *slog.Logger
	metrics *metrics.Metrics
	start   time.Time

	logStore, stateStore *storage.Store
	transport            Transport
	calls                Calls
	replica              *replica.Replica
	machine              *machine.Machine
	hub                  *watch.Hub

	inbox   inbox
	raft    *raftRole
	appends workQueue
	logs    logRole
	applies workQueue
	applier applyRole
	flushed chan struct{} // a memtable of the state reached the disk
	pending pendingBatches
	reads   reads
	sweeps  sweepWaiters
	turning turning
	dir     dirWatch

	lastRefused atomic.Int64 // when a refused message was logged last

	extensions knownExtensions

	leader atomic.Uint64
	leads  atomic.Bool
	// appendsUnderWay counts appends with entries that the log writer has not finished.
	appendsUnderWay atomic.Int32

	readable atomic.Bool // this sole member may serve linearizable reads from its applied state

	leaderChanges atomic.Uint64
	leaderSince   atomic.Pointer[time.Time]
	lastTime      lastTime
	leaderLost    leaderLost
	leaderChange  leaderChange

	ready     chan struct{}
	readyOnce sync.Once
	stopping  chan struct{}
	// running ends when the member stops or fails.
	running    context.Context
	endRunning context.CancelFunc
	failOnce   sync.Once
	failed     chan struct{}
	failure    error
	wg         sync.WaitGroup
}

// Ready is closed when the member first has a leader and has applied everything committed before:
// then it can serve.
func (m *Member) Ready() <-chan struct{} { return m.ready }

// Failed is closed when the member has failed; Err returns the reason.
func (m *Member) Failed() <-chan struct{} { return m.failed }

// Err returns why the member failed, nil while it has not.
func (m *Member) Err() error {
	select {
	case <-m.failed:
		return m.failure
	default:
		return nil
	}
}

// fail stops the member's work permanently: nothing more is acknowledged.
func (m *Member) fail(err error) {
	m.failOnce.Do(func() {
		m.failure = err
		close(m.failed)
		m.endRunning()
		m.inbox.close(ErrStopped)
		m.pending.close(ErrStopped, ErrStopped)
		m.log.Error("member failed", "error", err)
	})
}

// done reports whether the goroutines must end.
func (m *Member) done() bool {
	select {
	case <-m.stopping:
		return true
	case <-m.failed:
		return true
	default:
		return false
	}
}

// now returns the member's monotonic clock.
func (m *Member) now() time.Duration { return time.Since(m.start) }

// ID returns the member's ID.
func (m *Member) ID() uint64 { return m.cfg.ID }

// Leader returns the ID of the leader, 0 when none is known.
func (m *Member) Leader() uint64 { return m.leader.Load() }

// RaftStatus returns the applied index and the current term.
func (m *Member) RaftStatus() (appliedIndex, term uint64) {
	return m.machine.AppliedIndex(), m.replica.Term()
}

// Watches returns the hub that delivers every change. Close closes it.
func (m *Member) Watches() *watch.Hub { return m.hub }

// Keys returns the key space, for readers.
func (m *Member) Keys() *mvcc.Store { return m.machine.Keys() }

// v2RequestBytesMax limits v2's commands if --max-request-bytes is less: in etcd that flag is v3's
// limit, and v2 accepts a form of 10 MiB, plus the path and two values to compare.
const v2RequestBytesMax = 12 << 20

// migrationBytesMax limits the commands of a migration: one has all changes of a revision, of which
// a deletion of a range may have very many.
const migrationBytesMax = migration.CommandBytesMax

// requestBytesMax returns the maximum size of a command's payload; 0 means no limit.
func (m *Member) requestBytesMax(kind machine.Kind) int {
	limit := m.cfg.RequestBytesMax
	switch {
	case limit <= 0:
		return 0
	case kind == machine.KindV2:
		return max(limit, v2RequestBytesMax)
	case kind == machine.KindMigrate:
		return max(limit, migrationBytesMax)
	default:
		return limit
	}
}

// Propose proposes a command, and returns its result when it is applied; the error is the member's
// or the result's. payload must not be changed afterwards. After ErrTimeout or the context's error
// the command may still be applied.
//
// While authentication is enabled, a command is made on behalf of the context's auth.Actor. When
// users or roles have changed since the actor was checked the error is auth.OldRevision, and
// nothing was applied: check the actor again.
func (m *Member) Propose(ctx context.Context, kind machine.Kind, payload []byte) (*machine.Result, error) {
	if limit := m.requestBytesMax(kind); limit > 0 && len(payload) > limit {
		return nil, ErrTooLarge
	}
	if m.gate.State().Enabled {
		kind, payload = onBehalf(ctx, kind, payload)
	}
	// Before advance: Done may wake a goroutine that reads the connection, and the log writer's,
	// which is woken last, runs first.
	canceled := ctx.Done()
	p, err := m.inbox.submit(ctx, kind, payload, m.now())
	if err != nil {
		return nil, err
	}
	m.advance()
	// Wait for nothing else: a member that fails or stops completes the request, too.
	if canceled == nil {
		<-p.done
	} else {
		select {
		case <-p.done:
		case <-canceled:
			m.metrics.ProposalsFailed.Inc()
			return nil, ctx.Err()
		}
	}
	p.received()
	if p.parts != nil {
		p.parts.record(ctx, m.cfg.Tracer)
	}
	if p.err != nil {
		m.metrics.ProposalsFailed.Inc()
		return nil, p.err
	}
	return &p.result, p.result.Err
}

// requestTimeout returns how long a request may wait for the log: etcd's five seconds and two
// elections.
func (m *Member) requestTimeout() time.Duration {
	return 5*time.Second + 2*time.Duration(m.cfg.ElectionTicks)*m.cfg.TickInterval
}
