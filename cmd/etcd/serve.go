package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"cairn/internal/config"
	"cairn/internal/datadir"
	"cairn/internal/logging"
	"cairn/internal/membership"
	"cairn/internal/metrics"
	"cairn/internal/ops"
)

const (
	shutdownTimeout   = 3 * time.Second  // for requests under way; what lasts longer is cut off
	readHeaderTimeout = 10 * time.Second // so that idle connections cannot be piled up for nothing
)

// serve runs the member until ctx ends, and returns nil then, or until it fails. The addresses of c are taken already; serve
// opens the data directory, which is the first thing that is written.
func serve(ctx context.Context, cfg *config.Config, log *slog.Logger, level *slog.LevelVar, c *claim) (err error) {
	etcdLog := logging.For(log, "etcd")
	dir, err := datadir.Open(cfg.DataDir)
	if err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if dir.Identity() == nil {
		if err := dir.Create(newIdentity(cfg, c.founders)); err != nil {
			return err
		}
	}
	logMember(etcdLog, cfg, dir, c)

	m := metrics.New(dir.Identity().MemberID)
	paths := ops.Config{Member: noMember{}, Metrics: m, Level: level, Pprof: cfg.EnablePprof}
	etcdLog.Warn("this build has no member: neither v2 nor v3 requests are served")
	client := http.NewServeMux()
	ops.Register(client, paths)

	servers := newServers(logging.For(log, "http"))
	servers.start(c.client, ops.AnswerOptions(client))
	servers.start(c.peer, ops.PeerHandler(paths))
	servers.start(c.metrics, ops.MetricsHandler(paths))

	logReady(etcdLog, c)
	notifyReady(etcdLog)
	select {
	case err = <-servers.failed:
	case <-ctx.Done():
	}
	notifyStopping(etcdLog)
	servers.stop()
	etcdLog.Info("stopped serving")
	return err
}

// newIdentity is that of the founder that this member is.
func newIdentity(cfg *config.Config, founders []config.Founder) datadir.Identity {
	id := datadir.Identity{Name: cfg.Name, Created: time.Now()}
	var members []uint64
	for _, f := range founders {
		member := membership.MemberID(f.PeerURLs.Strings(), cfg.InitialClusterToken)
		members = append(members, member)
		if f.Name == cfg.Name {
			id.MemberID = member
		}
	}
	id.ClusterID = membership.ClusterID(members)
	return id
}

// noMember stands where the member will be: there is no cluster, and nobody is healthy.
type noMember struct{}

func (noMember) Healthy(context.Context) error { return errors.New("this build has no member") }
func (noMember) ClusterVersion() string        { return "" }

// servers are the HTTP servers of all ports.
type servers struct {
	log    *slog.Logger
	all    []*http.Server
	failed chan error // the first that ends by itself says why
}

func newServers(log *slog.Logger) *servers {
	return &servers{log: log, failed: make(chan error, 1)}
}

func (s *servers) start(listeners []net.Listener, handler http.Handler) {
	for _, l := range listeners {
		server := &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: readHeaderTimeout,
			ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		}
		s.all = append(s.all, server)
		go func() {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				select {
				case s.failed <- fmt.Errorf("serve %s: %w", l.Addr(), err):
				default: // another was first
				}
			}
		}()
	}
}

// stop ends all servers, the last started first, and gives all of them together the timeout.
func (s *servers) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	for _, server := range slices.Backward(s.all) {
		if err := server.Shutdown(ctx); err != nil {
			s.log.Debug("cut off requests under way", "err", err)
			_ = server.Close() // its listeners are closed already, and connections have nothing to say
		}
	}
}
