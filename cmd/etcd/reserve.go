package main

import (
	"context"
	"fmt"

	"cairn/internal/config"
	"cairn/internal/datadir"
	"cairn/internal/listen"
)

// reservation has what a start needs before it writes anything: the listeners, and the state of the
// data directory.
type reservation struct {
	existing *datadir.Identity // the member in the data directory, or nil
	// the members of --initial-cluster, or the discovered ones, when there is no member yet
	founders []config.Founder

	client, clientHTTP, peer, metrics []*listen.Listener
	unused                            []string // sockets passed by systemd that no URL names
}

// reserveListeners binds every address. If it fails, nothing stays bound and nothing is written.
func reserveListeners(ctx context.Context, cfg *config.Config) (r *reservation, err error) {
	r = new(reservation)
	if r.existing, err = datadir.Inspect(cfg.DataDir); err != nil {
		return nil, fmt.Errorf("--data-dir: %w", err)
	}
	if r.existing == nil && !cfg.Discovery.Enabled() {
		if r.founders, err = cfg.Founders(ctx, lookupPatiently); err != nil {
			return nil, err
		}
	}
	if r.existing != nil || !cfg.Discovery.Enabled() {
		if err := r.check(cfg); err != nil {
			return nil, err
		}
	}
	inherited, err := listen.Inherit()
	if err != nil {
		return nil, err
	}
	options := listen.Options{ReusePort: cfg.SocketReusePort, Inherited: inherited}
	for _, l := range []struct {
		flag string
		urls config.URLs
		to   *[]*listen.Listener
	}{
		{"--listen-peer-urls", cfg.ListenPeerURLs, &r.peer},
		{"--listen-client-urls", cfg.ListenClientURLs, &r.client},
		{"--listen-client-http-urls", cfg.ListenClientHTTPURLs, &r.clientHTTP},
		{"--listen-metrics-urls", cfg.ListenMetricsURLs, &r.metrics},
	} {
		var addresses []listen.Address
		for _, u := range l.urls {
			addresses = append(addresses, listen.Address{Scheme: u.Scheme, Address: u.HostPort})
		}
		if *l.to, err = listen.Open(ctx, addresses, options); err != nil {
			r.Close()
			return nil, fmt.Errorf("%s: %w", l.flag, err)
		}
	}
	r.unused = inherited.Left()
	return r, nil
}

// check refuses impossible starts, as far as they can be detected without requests to other
// members.
func (r *reservation) check(cfg *config.Config) error {
	if r.existing == nil && cfg.InitialClusterState == config.ClusterExisting && len(otherURLs(cfg, r.founders)) == 0 {
		return fmt.Errorf("--initial-cluster: names no other member than %q: to join a cluster, name its members as well, as 'etcdctl member add' prints them", cfg.Name)
	}
	return nil
}

// Close releases the addresses. Closing a listener that a server has closed already is harmless.
func (r *reservation) Close() {
	for _, listeners := range [][]*listen.Listener{r.client, r.clientHTTP, r.peer, r.metrics} {
		for _, l := range listeners {
			_ = l.Close()
		}
	}
}
