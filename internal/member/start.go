package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"cairn/internal/budget"
	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/internal/metrics"
	"cairn/internal/raftlog"
	"cairn/internal/replica"
	"cairn/internal/storage"
	"cairn/internal/watch"
)

// Start opens the stores, applies the log to the state, and starts the member. It returns before
// there is a leader; see Ready.
func Start(cfg Config) (_ *Member, err error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = metrics.New(cfg.ID)
	}
	m := &Member{
		cfg: cfg, log: cfg.Logger, metrics: cfg.Metrics, start: time.Now(),
		flushed: make(chan struct{}, 1), ready: make(chan struct{}),
		stopping: make(chan struct{}), failed: make(chan struct{}),
	}
	m.Removal = &Removal{m: m, removed: make(chan struct{})}
	m.running, m.endRunning = context.WithCancel(context.Background())
	m.inbox.wake, m.inbox.tracer = make(chan struct{}, 1), cfg.Tracer
	m.appends.wake, m.applies.wake = make(chan struct{}, 1), make(chan struct{}, 1)
	m.pending.batches = make(map[uint64]pendingBatch)
	m.reads.asked = make(map[uint64][]*read)
	if err := m.open(); err != nil {
		_ = m.closeStores() // what fails then has the same reason
		return nil, err
	}
	m.raft = newRaftRole(m)
	m.logs.role.m, m.logs.name = m, "log writer"
	m.applier.role.m, m.applier.name = m, "applier"
	m.appends.role, m.applies.role = m.logs.name, m.applier.name
	if storage.OnOS(cfg.FS) {
		if m.dir, err = newDirWatch(cfg.Dir, logDir(cfg.Dir), stateDir(cfg.Dir)); err != nil {
			return nil, errors.Join(err, m.closeStores())
		}
	}
	m.transport, m.calls = alone{}, alone{}
	if cfg.Transport != nil {
		m.transport, m.calls = cfg.Transport(m, peerHandler{m})
	}
	host{m}.startRenewals()
	host{m}.start()
	m.applier.updatePeers()
	m.applies.signal() // compactions before a restart may have left rows to sweep
	m.wg.Add(6)
	go m.raft.loop()
	go host{m}.runExpiry()
	go m.logs.loop()
	go m.applier.loop()
	go host{m}.runHousekeeping()
	go host{m}.runWatches()
	return m, nil
}

func (m *Member) open() (err error) {
	memory := m.cfg.Memory
	if memory == (budget.Plan{}) {
		memory = budget.PlanFor(0)
	}
	m.inbox.backlog.bytesMax = memory.Requests
	onFatal := func(err error) { m.fail(fmt.Errorf("storage: %w", err)) }
	if m.logStore, err = storage.OpenLog(logDir(m.cfg.Dir), storage.Options{
		FS: m.cfg.FS, Logger: m.log, OnFatal: onFatal, MustExist: true,
		CacheBytes: memory.LogCache, MemTableBytes: uint64(memory.LogMemTable),
		OnJournalWrite: func(d time.Duration) { m.metrics.LogWrite.Observe(d.Seconds()) },
	}); err != nil {
		return err
	}
	if m.stateStore, err = storage.OpenState(stateDir(m.cfg.Dir), storage.Options{
		FS: m.cfg.FS, Logger: m.log, OnFatal: onFatal, MustExist: true,
		CacheBytes: memory.StateCache, MemTableBytes: uint64(memory.StateMemTable),
		OnFlush: func() {
			select {
			case m.flushed <- struct{}{}:
			default:
			}
		},
	}); err != nil {
		return err
	}
	if m.machine, err = machine.Open(m.stateStore); err != nil {
		return err
	}
	m.machine.LimitMemory(int(memory.Recent), memory.Batch)
	m.machine.DeferReads(deferReadsAbove)
	m.Records = Records{id: m.cfg.ID, machine: m.machine, propose: m.Propose}
	gate, err := newGate(m.cfg.Auth, m.machine.Auth(), m.ClusterTime, m.cfg.Logger)
	if err != nil {
		return err
	}
	m.Access = Access{gate: gate, member: m}
	m.hub = watch.New(m.machine.Keys(), watch.Limits{
		QueueBytes: int(memory.Events), WindowBytes: int(memory.Events), HubBytes: int(memory.WatchKeys),
	})
	rlog, err := raftlog.Open(m.logStore, m.machine.AppliedIndex(), m.machine.ConfState())
	if err != nil {
		return err
	}
	rlog.LimitCache(int(memory.Entries))
	m.replica, err = replica.New(replica.Config{
		ID: m.cfg.ID, ElectionTicks: m.cfg.ElectionTicks, Logger: m.cfg.RaftLogger,
		ClusterID: m.cfg.ClusterID, FS: m.cfg.FS, ReceiveDir: receiveDir(m.cfg.Dir),
	}, rlog, m.machine)
	return err
}

// deferReadsAbove is how many bytes of a range in a transaction the applier collects. Larger ranges
// are read after the transaction has been applied.
const deferReadsAbove = 256 << 10

// The initial membership counts as entry 1 of term 1, which is applied but not
// in the log.
const initialIndex, initialTerm = 1, 1

// Initialize makes the stores of a new member in the empty directory dir, for a cluster with the
// given initial members. They are durable when it returns.
func Initialize(fs storage.FS, dir string, founders []membership.Member) error {
	return initialize(fs, dir, initialIndex, initialTerm, founders)
}

// InitializeJoining is Initialize for a member that joins a cluster with the given members. It
// receives its state from them, and until then has only their URLs.
func InitializeJoining(fs storage.FS, dir string, members []membership.Member) error {
	return initialize(fs, dir, 0, 0, members)
}

func initialize(fs storage.FS, dir string, index, term uint64, members []membership.Member) (err error) {
	state, err := storage.OpenState(stateDir(dir), storage.Options{FS: fs})
	if err != nil {
		return err
	}
	closing := func(s *storage.Store) {
		if closeErr := s.Close(); err == nil {
			err = closeErr // otherwise it has the same reason
		}
	}
	defer closing(state)
	log, err := storage.OpenLog(logDir(dir), storage.Options{FS: fs})
	if err != nil {
		return err
	}
	defer closing(log)
	if err := machine.Initialize(state, index, term, members); err != nil {
		return err
	}
	return raftlog.Initialize(log, index, term)
}

func logDir(dir string) string   { return filepath.Join(dir, "log") }
func stateDir(dir string) string { return filepath.Join(dir, "state") }

// receiveDir is the directory in which a snapshot of a peer is prepared; it is removed at every
// start.
func receiveDir(dir string) string { return filepath.Join(dir, "receive") }

// Close stops the member, and leaves a state on disk that the next start need not replay. Waiting
// requests fail with ErrStopped.
func (m *Member) Close() error {
	host{m}.handOver()
	m.hub.Close()
	close(m.stopping)
	m.endRunning()
	m.wg.Wait()
	err := m.transport.Close()
	if m.Err() == nil {
		return errors.Join(err, m.closeRoles())
	}
	// A storage engine whose disk has failed may wait forever for its writes; everything that can
	// be lost is lost already.
	closed := make(chan error, 1)
	go func() { closed <- m.closeRoles() }()
	select {
	case closeErr := <-closed:
		return errors.Join(err, closeErr)
	case <-time.After(failedCloseMax):
		return errors.Join(err, fmt.Errorf("the stores did not close within %v", failedCloseMax))
	}
}

// failedCloseMax is the maximum duration of closing a failed member.
const failedCloseMax = 5 * time.Second

// closeRoles fails the waiting requests, and closes the stores.
func (m *Member) closeRoles() (err error) {
	// Requests may still hold a role. After this none can acquire one.
	m.logs.mu.Lock()
	m.applier.mu.Lock()
	m.raft.mu.Lock()
	m.applier.finishing.Wait()
	m.readable.Store(false) // the stores are about to be closed
	m.pending.close(ErrStopped, ErrStopped)
	m.inbox.close(ErrStopped)
	m.reads.failAll(ErrStopped)
	if m.Err() == nil {
		err = m.machine.Flush()
		m.logs.truncate()
		err = errors.Join(err, m.Err())
	}
	return errors.Join(err, m.machine.Close(), m.closeStores())
}

func (m *Member) closeStores() (err error) {
	for _, s := range []*storage.Store{m.stateStore, m.logStore} {
		if s != nil {
			err = errors.Join(err, s.Close())
		}
	}
	return err
}
