package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"cairn/internal/config"
	"cairn/internal/discovery"
	"cairn/internal/membership"
)

// discover finds the members of the cluster with --discovery or --discovery-srv, for a member that
// does not exist yet, and returns the configuration with them. A signal ends it: other members may
// take any time to register. The addresses are bound by then, so that a start that cannot succeed
// takes no place at the discovery service.
func (r *reservation) discover(ctx context.Context, cfg *config.Config, log *slog.Logger, signals <-chan os.Signal) (*config.Config, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		cfg *config.Config
		err error
	}
	found := make(chan result, 1)
	go func() {
		c, err := findMembers(ctx, cfg, log)
		found <- result{c, err}
	}()
	var res result
	select {
	case s := <-signals:
		cancel()
		<-found
		return nil, fmt.Errorf("stopped by a signal (%v) before the members of the cluster were found", s)
	case res = <-found:
	}
	if res.err != nil {
		return nil, res.err
	}
	var err error
	if r.founders, err = res.cfg.Founders(); err != nil {
		return nil, err
	}
	log.Info("found the members", "initial_cluster", res.cfg.InitialCluster)
	return res.cfg, r.check(res.cfg)
}

func findMembers(ctx context.Context, cfg *config.Config, log *slog.Logger) (*config.Config, error) {
	if cfg.Discovery.URL != "" {
		return register(ctx, cfg, log)
	}
	ctx, cancel := context.WithTimeout(ctx, discoveryTimeout)
	defer cancel()
	cluster, own, err := discovery.Members(ctx, net.DefaultResolver, cfg.Discovery.SRV, cfg.Discovery.SRVName,
		discovery.Self{Name: cfg.Name, PeerURLs: cfg.InitialAdvertisePeerURLs.Strings()})
	if err != nil {
		return nil, err
	}
	return cfg.Discovered(cluster, own, cfg.InitialClusterToken)
}

// register registers this member with the discovery service and waits for the others. The service's
// URL is the cluster's token, as in etcd, so that members of etcd and of cairn derive the same IDs.
func register(ctx context.Context, cfg *config.Config, log *slog.Logger) (*config.Config, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if cfg.Discovery.Proxy != "" {
		proxy, err := url.Parse(cfg.Discovery.Proxy)
		if err != nil || proxy.Host == "" {
			return nil, fmt.Errorf("--discovery-proxy: %q is not a URL: want http://HOST:PORT", cfg.Discovery.Proxy)
		}
		transport.Proxy = http.ProxyURL(proxy)
	}
	defer transport.CloseIdleConnections()
	urls := cfg.InitialAdvertisePeerURLs.Strings()
	var texts []string
	for _, u := range urls {
		texts = append(texts, cfg.Name+"="+u)
	}
	service := &discovery.Service{URL: cfg.Discovery.URL, Client: &http.Client{Transport: transport}, Logger: log}
	cluster, err := service.Join(ctx, membership.MemberID(urls, cfg.Discovery.URL), strings.Join(texts, ","))
	switch {
	case errors.Is(err, discovery.ErrFull) || errors.Is(err, discovery.ErrDuplicateID):
		return nil, fmt.Errorf("--discovery: %w (%s)", err, cfg.Discovery.URL)
	case err != nil:
		return nil, fmt.Errorf("--discovery: %w", err)
	}
	return cfg.Discovered(cluster, urls, cfg.Discovery.URL)
}
