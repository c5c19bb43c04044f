package main

import (
	"context"
	"fmt"
	"net"

	"cairn/internal/config"
	"cairn/internal/datadir"
	"cairn/internal/discovery"
)

// discover returns cfg with the members that --discovery-srv finds. A member that exists has its
// cluster on disk: nothing is looked up then, as in etcd.
func discover(ctx context.Context, cfg *config.Config) (*config.Config, error) {
	if cfg.Discovery.SRV == "" {
		return cfg, nil
	}
	switch existing, err := datadir.Inspect(cfg.DataDir); {
	case err != nil:
		return nil, fmt.Errorf("--data-dir: %w", err)
	case existing != nil:
		return cfg, nil
	}
	ctx, cancel := context.WithTimeout(ctx, discoveryTimeout)
	defer cancel()
	cluster, own, err := discovery.Members(ctx, net.DefaultResolver, cfg.Discovery.SRV, cfg.Discovery.SRVName,
		discovery.Self{Name: cfg.Name, PeerURLs: cfg.InitialAdvertisePeerURLs.Strings()})
	if err != nil {
		return nil, err
	}
	return cfg.Discovered(cluster, own)
}
