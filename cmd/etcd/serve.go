package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/health"

	"cairn/internal/auth"
	"cairn/internal/backup"
	"cairn/internal/budget"
	"cairn/internal/config"
	"cairn/internal/datadir"
	"cairn/internal/listen"
	"cairn/internal/logging"
	"cairn/internal/member"
	"cairn/internal/member/compactor"
	"cairn/internal/member/integrity"
	"cairn/internal/metrics"
	"cairn/internal/ops"
	"cairn/internal/portmux"
	"cairn/internal/storage"
	"cairn/internal/tracing"
	"cairn/internal/v2http"
)

const (
	// for requests in progress; those that last longer are closed
	shutdownTimeout = 3 * time.Second
	// so that clients cannot accumulate idle connections at no cost
	readHeaderTimeout = 10 * time.Second
	// of connections of the metrics port without a request; Prometheus sends one a minute by
	// default
	idleTimeout = 2 * time.Minute
	// for the read of a health check, in addition to two elections; as in etcd
	requestTimeout = 5 * time.Second
)

// serve runs the member until ctx ends, and returns nil then, or until it fails. The addresses of r
// are bound already; serve opens the data directory, which is the first write.
func serve(ctx context.Context, cfg *config.Config, log *slog.Logger, r *reservation, reloads *reloader) (err error) {
	etcdLog := logging.For(log, "etcd")
	tokens, err := readJWT(cfg.AuthToken) // before anything is written
	if err != nil {
		return err
	}
	secrets, err := loadSecurity(cfg, log) // likewise
	if err != nil {
		return err
	}
	dir, err := openDir(ctx, cfg, etcdLog, r, secrets)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if err := secrets.secure(r); err != nil {
		return err
	}
	logMember(etcdLog, cfg, dir, r)
	logEffective(etcdLog, cfg)
	logInsecure(etcdLog, cfg, r)

	id := dir.Identity()
	meters := metrics.New(id.MemberID)
	if cfg.ExtensiveMetrics {
		meters.MeasureCalls()
	}
	meters.ShowCertificates(secrets.expiries, secrets.revocationLists)
	tracer, err := newTracer(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer closeTracer(tracer, etcdLog)
	transport := newTransport(cfg, log, id, meters, secrets)
	memory := planMemory(cfg.MemoryLimit, log)
	m, err := untilDone(ctx, func() (*member.Member, error) {
		return startMember(cfg, log, dir, meters, transport, tokens, tracer, memory)
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	v2Counters := new(v2http.Counters)
	meters.SetState(func() metrics.State { return metricsState(m, transport, dir, v2Counters) })
	background, stopBackground := context.WithCancel(ctx)
	defer stopBackground()
	var helpers sync.WaitGroup
	defer helpers.Wait()
	helpers.Go(func() {
		m.RunAutoCompaction(background, compactor.Policy{
			Retention: cfg.AutoCompaction.Period, Revisions: cfg.AutoCompaction.Revisions,
		})
	})

	helpers.Go(func() { secrets.run(background) })
	helpers.Go(func() { reloads.run(background, etcdLog, secrets, cfg) })
	helpers.Go(func() { backup.Serve(background, dir.MemberDir(), etcdLog, m.Snapshot) })

	paths := ops.Config{
		Member: opsMember{m}, Metrics: meters, Level: reloads.level, Pprof: cfg.EnablePprof, V2: cfg.EnableV2,
		Timeout: requestTimeout + 2*cfg.ElectionTimeout,
		RequireRoot: func(next http.Handler) http.Handler {
			return v2http.RequireRoot(m, cfg.ClientTLS.RequireClientCert, next)
		},
	}
	servers := newServers(logging.For(log, "http"))
	transport.serve(ops.PeerHandler(paths))
	servers.start(r.peer, transport, transport.Protect)
	servers.start(r.metrics, ops.MetricsHandler(paths), func(s *http.Server) { s.IdleTimeout = idleTimeout })

	gate := newGate(background.Done())
	web := newConsole(cfg, m, id, meters)
	servers.startClients(r, &clients{cfg: cfg, console: web, log: log, m: m, id: id, meters: meters, paths: paths, secrets: secrets, memory: clientBudget(memory), gate: gate, tracer: tracer, v2: v2Counters})
	m.OnRemoval(servers.drain)
	if web != nil {
		// after the services have registered their methods, which the console's samples walk
		// through
		helpers.Go(func() { web.Run(background) })
	}
	if cfg.InitialCorruptCheck {
		if err := m.CheckAtStart(ctx); err != nil {
			return fmt.Errorf("--initial-corrupt-check: %w: replace the member, or start it without the flag", err)
		}
	}
	helpers.Go(func() { m.Checks.Run(background, corruptionChecks(cfg)) })

	p := newPublication(cfg)
	if p.needless(m) {
		gate.open()
	}
	helpers.Go(func() { p.run(background, etcdLog, m, id) })
	err = attend(ctx, servers, m, p, func() {
		gate.open()
		logReady(etcdLog, r)
		reloads.notifyReady(etcdLog)
		helpers.Go(func() { keepWatchdog(background, etcdLog, m.Live) })
	})
	notifyStopping(etcdLog)
	stopBackground()
	m.Watches().Close()
	servers.stop()
	etcdLog.Info("stopped serving")
	return err
}

// openDir opens the data directory. If the flags require it, it bootstraps a new member, or makes
// the member the only one of its cluster.
func openDir(ctx context.Context, cfg *config.Config, log *slog.Logger, r *reservation, s *security) (*datadir.Dir, error) {
	dir, err := datadir.Open(cfg.DataDir)
	if err != nil {
		return nil, fmt.Errorf("--data-dir: %w", err)
	}
	if err := s.makeSelfSigned(cfg, log); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	logDir, err := dir.OutsideMember(cfg.WALDir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("--wal-dir: %w", err), dir.Close())
	}
	if logDir != cfg.WALDir {
		log.Info("--wal-dir is in the member's directory, where the log is without it", "wal_dir", cfg.WALDir, "log_dir", dir.LogDir())
	}
	if dir.Identity() == nil {
		if err := bootstrapMember(ctx, cfg, dir, logDir, r.founders, s.dialPeer); err != nil {
			return nil, errors.Join(err, dir.Close())
		}
	}
	if err := dir.CheckLog(logDir); err != nil {
		return nil, errors.Join(fmt.Errorf("--wal-dir: %w", err), dir.Close())
	}
	if cfg.ForceNewCluster && r.existing != nil {
		if err := backup.ForceNewCluster(dir, cfg.InitialAdvertisePeerURLs.Strings()); err != nil {
			return nil, errors.Join(fmt.Errorf("--force-new-cluster: %w", err), dir.Close())
		}
		log.Warn("this member is the only one of its cluster now: start it without --force-new-cluster from here on",
			"member_id", fmt.Sprintf("%x", dir.Identity().MemberID))
	}
	return dir, nil
}

// corruptionChecks returns the interval of comparing the members' data.
func corruptionChecks(cfg *config.Config) integrity.Intervals {
	c := integrity.Intervals{Present: cfg.CorruptCheckTime}
	if cfg.CompactHashCheck {
		c.Compacted = cfg.CompactHashCheckTime
	}
	return c
}

// disk is the file system of the stores. Tests plant faults in it.
var disk = storage.OSFS

// fileSystem returns the file system of the stores.
func fileSystem(cfg *config.Config) storage.FS {
	if cfg.UnsafeNoFsync {
		return storage.WithoutSync(disk)
	}
	return disk
}

// startMember starts the member of the data directory.
func startMember(cfg *config.Config, log *slog.Logger, dir *datadir.Dir, meters *metrics.Metrics, t *transport, tokens *auth.JWT, tracer *tracing.Tracer, memory budget.Plan) (*member.Member, error) {
	return member.Start(member.Config{
		Dir:                dir.MemberDir(),
		FS:                 fileSystem(cfg),
		ID:                 dir.Identity().MemberID,
		ClusterID:          dir.Identity().ClusterID,
		TickInterval:       cfg.HeartbeatInterval,
		ElectionTicks:      int(cfg.ElectionTimeout / cfg.HeartbeatInterval),
		SnapshotCount:      cfg.SnapshotCount,
		CatchUpEntries:     cfg.SnapshotCatchupEntries,
		Transport:          t.connect,
		LearnersMax:        cfg.LearnersMax,
		StrictReconfig:     cfg.StrictReconfigCheck,
		LearnerAutoPromote: cfg.LearnerAutoPromote,
		Memory:             memory,
		RequestBytesMax:    int(cfg.RequestBytesMax),
		QuotaBytes:         cfg.QuotaBackendBytes,
		Auth:               member.AuthConfig{BcryptCost: cfg.BcryptCost, TokenTTL: cfg.AuthTokenTTL, JWT: tokens},
		Logger:             logging.For(log, "member"),
		RaftLogger:         logging.NewRaft(log),
		Metrics:            meters,
		SlowApply:          cfg.SlowApply,
		Tracer:             tracer,
		Certificates:       t.secrets.expiries,
	})
}

// openStopMax is how long a stop waits for the stores to be opened: a disk that does not respond
// must not keep the process from ending.
const openStopMax = 5 * time.Second

// untilDone opens the member, and stops waiting for it some time after ctx is done. Then the
// process ends: nothing was acknowledged, and the next start opens the stores again.
func untilDone(ctx context.Context, open func() (*member.Member, error)) (*member.Member, error) {
	type result struct {
		m   *member.Member
		err error
	}
	opened := make(chan result, 1)
	go func() {
		m, err := open()
		opened <- result{m, err}
	}()
	select {
	case r := <-opened:
		return r.m, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-opened:
		return r.m, r.err
	case <-time.After(openStopMax):
		return nil, fmt.Errorf("stopped while the stores in the data directory were being opened, which did not end within %v", openStopMax)
	}
}

// attend waits until ctx ends or the member fails, and calls ready when the member is published.
func attend(ctx context.Context, servers *servers, m *member.Member, p *publication, ready func()) error {
	published := p.done
	for {
		select {
		case err := <-servers.failed:
			return err
		case <-m.Failed():
			return m.Err()
		case <-m.Removed():
			return nil // the member has logged why
		case err := <-p.failed:
			if ctx.Err() == nil {
				return err
			}
			return nil
		case <-ctx.Done():
			return nil
		case <-published:
			published = nil
			ready()
		}
	}
}

// servers are the HTTP servers of all ports.
type servers struct {
	log     *slog.Logger
	all     []*http.Server
	clients []*portmux.Server
	health  *health.Server // of clients
	failed  chan error     // has the error of the first server that fails
}

func newServers(log *slog.Logger) *servers {
	return &servers{log: log, failed: make(chan error, 1)}
}

// startClients serves the client ports.
func (s *servers) startClients(r *reservation, c *clients) {
	server, health := c.server(len(r.clientHTTP) == 0)
	s.health = health
	s.startClient(r.client, server, c.secrets)
	if len(r.clientHTTP) > 0 {
		s.startClient(r.clientHTTP, c.httpServer(), c.secrets)
	}
}

func (s *servers) startClient(listeners []*listen.Listener, server *portmux.Server, secrets *security) {
	s.clients = append(s.clients, server)
	for _, l := range listeners {
		go func() {
			if err := server.Serve(l.Listener, secrets.ofClientPort(l)); !errors.Is(err, portmux.ErrServerStopped) {
				s.fail(l, err)
			}
		}()
	}
}

func (s *servers) fail(l net.Listener, err error) {
	select {
	case s.failed <- fmt.Errorf("serve %s: %w", l.Addr(), err):
	default: // another one failed first
	}
}

// start serves listeners; limit completes each server's limits.
func (s *servers) start(listeners []*listen.Listener, handler http.Handler, limit func(*http.Server)) {
	for _, l := range listeners {
		server := &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: readHeaderTimeout,
			ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		}
		limit(server)
		s.all = append(s.all, server)
		go func() {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				s.fail(l, err)
			}
		}()
	}
}

// drain makes clients leave: no further connections are accepted, and those that are open serve
// only the requests on the way.
func (s *servers) drain() {
	s.health.Shutdown()
	for _, server := range s.clients {
		server.Drain()
	}
}

// stop stops all servers, the last started first, within one timeout for all of them.
func (s *servers) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if s.health != nil {
		s.health.Shutdown()
	}
	for _, server := range s.clients {
		if err := server.Shutdown(ctx); err != nil {
			s.log.Debug("closed client requests in progress", "error", err)
			server.Close()
		}
	}
	for _, server := range slices.Backward(s.all) {
		if err := server.Shutdown(ctx); err != nil {
			s.log.Debug("closed requests in progress", "error", err)
			// its listeners are closed already, and errors of connections have no consequence
			_ = server.Close()
		}
	}
}
