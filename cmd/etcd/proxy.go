package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"cairn/internal/config"
	"cairn/internal/datadir"
	"cairn/internal/grpcserver"
	"cairn/internal/http2"
	"cairn/internal/listen"
	"cairn/internal/logging"
	"cairn/internal/portmux"
	"cairn/internal/proxy/httpproxy"
)

// actAsProxy decides whether the process is a proxy, as etcd does: what the data directory holds
// goes before --proxy.
func actAsProxy(cfg *config.Config) bool {
	wanted := cfg.Proxy.Mode != config.ProxyOff
	warn := func(message, reason string) {
		cfg.Warnings = append(cfg.Warnings, config.Warning{Message: message, Setting: "--data-dir", Reason: reason})
	}
	if _, err := os.Stat(filepath.Join(cfg.DataDir, "member")); err == nil {
		if wanted {
			warn("starting as a member: --proxy has no effect", cfg.DataDir+" holds a member")
		}
		return false
	}
	if _, err := os.Stat(clusterFile(cfg)); err == nil && !wanted {
		warn("starting as a proxy", cfg.DataDir+" is a proxy's")
		cfg.Proxy.Mode = config.ProxyOn
		return true
	}
	return wanted
}

// serveProxy forwards clients' requests until ctx ends, and returns nil then.
func serveProxy(ctx context.Context, cfg *config.Config, log *slog.Logger, reloads *reloader) error {
	own := logging.For(log, "proxy")
	listeners, err := openProxyListeners(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() {
		for _, l := range listeners {
			_ = l.Close() // one that a server has closed is closed already
		}
	}()
	secrets, err := loadSecurity(cfg, log)
	if err != nil {
		return err
	}
	if err := secrets.makeSelfSigned(cfg, own); err != nil {
		return err
	}
	members := &proxyMembers{cfg: cfg, log: own, dial: secrets.dialPeer}
	if err := members.begin(ctx); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("stopped by a signal before the members of the cluster were found: %w", err)
		}
		return err
	}
	p := httpproxy.New(httpproxy.Options{
		Find: members.clientURLs, RefreshInterval: cfg.Proxy.RefreshInterval, FailureWait: cfg.Proxy.FailureWait,
		DialTimeout: cfg.Proxy.DialTimeout, WriteTimeout: cfg.Proxy.WriteTimeout, ReadTimeout: cfg.Proxy.ReadTimeout,
		ReadOnly: cfg.Proxy.Mode == config.ProxyReadOnly, TLS: secrets.dialPeer, Logger: own,
	})
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer stop()
	helpers.Go(func() { p.Run(background) })
	helpers.Go(func() { secrets.run(background) })
	helpers.Go(func() { reloads.run(background, own, secrets, cfg) })
	if cfg.Proxy.Mode == config.ProxyReadOnly {
		p.AwaitMembers(ctx)
		if ctx.Err() != nil {
			return nil
		}
	}
	server, closeUpstream, err := proxyServer(background, cfg, log, p, secrets)
	if err != nil {
		return err
	}
	defer closeUpstream()
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() {
			if err := server.Serve(l.Listener, secrets.ofClientPort(l)); !errors.Is(err, portmux.ErrServerStopped) {
				failed <- fmt.Errorf("serve %s: %w", l.Addr(), err)
			}
		}()
	}
	p.AwaitMembers(ctx)
	if ctx.Err() == nil {
		logProxyReady(own, listeners, cfg.Proxy.Mode)
		reloads.notifyReady(own)
	}
	return shutDownProxy(ctx, own, server, failed, func() {})
}

func openProxyListeners(ctx context.Context, cfg *config.Config) ([]*listen.Listener, error) {
	inherited, err := listen.Inherit()
	if err != nil {
		return nil, err
	}
	var addresses []listen.Address
	for _, u := range append(append(config.URLs{}, cfg.ListenClientURLs...), cfg.ListenClientHTTPURLs...) {
		addresses = append(addresses, listen.Address{Scheme: u.Scheme, Address: u.HostPort})
	}
	listeners, err := listen.Open(ctx, addresses, listen.Options{ReusePort: cfg.SocketReusePort, Inherited: inherited})
	if err != nil {
		return nil, fmt.Errorf("--listen-client-urls: %w", err)
	}
	return listeners, nil
}

func logProxyReady(log *slog.Logger, listeners []*listen.Listener, mode config.ProxyMode) {
	for _, l := range listeners {
		log.Info("proxy is ready to serve client requests", "address", l.Addr().String(), "mode", string(mode))
	}
}

// proxyServer returns the server of the client port. With --proxy=readonly each call is forwarded
// separately, over a client of the cluster.
func proxyServer(ctx context.Context, cfg *config.Config, log *slog.Logger, p *httpproxy.Proxy, secrets *security) (server *portmux.Server, closeUpstream func(), err error) {
	port := proxyPort{handler: p, memory: clientBudget(planMemory(cfg.MemoryLimit, log)), secrets: secrets, log: log}
	var engine portmux.HTTP2 = p.Connections()
	closeUpstream = func() {}
	if cfg.Proxy.Mode == config.ProxyReadOnly {
		conn, err := p.Upstream(ctx, clientv3.Config{DialTimeout: cfg.Proxy.DialTimeout, DialOptions: upstreamDialing(math.MaxInt32), Logger: zap.NewNop()})
		if err != nil {
			return nil, nil, err
		}
		closeUpstream = func() { conn.Close() }
		calls := grpcserver.New(grpcserver.Options{MaxRecvBytes: int(cfg.RequestBytesMax) + grpcOverheadBytes, Logger: logging.For(log, "grpc")})
		httpproxy.RegisterReadOnly(calls, conn.ActiveConnection())
		engine = port.engine(calls, http2.Options{
			MaxBodyBytes:         int(cfg.RequestBytesMax) + grpcOverheadBytes,
			MaxConcurrentStreams: cfg.MaxConcurrentStreams,
			KeepaliveMinTime:     orDefault(cfg.GRPCKeepaliveMinTime, 5*time.Minute),
			KeepaliveTime:        cfg.GRPCKeepaliveInterval,
			KeepaliveTimeout:     cfg.GRPCKeepaliveTimeout,
		})
	}
	return port.server(engine), closeUpstream, nil
}

// checkProxyDir refuses a data directory that holds something other than a proxy.
func checkProxyDir(cfg *config.Config) error {
	if _, err := os.Stat(filepath.Join(cfg.DataDir, "proxy")); err == nil {
		return nil // datadir refuses it for a member
	}
	if _, err := datadir.Inspect(cfg.DataDir); err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	return nil
}
