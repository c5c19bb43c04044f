package main

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// The DNS may not know a name yet when a member starts: in Kubernetes it learns the name of a pod
// after the pod has started. etcd waits as long.
const (
	lookupTimeout = 30 * time.Second
	lookupRetry   = time.Second
)

// lookupPatiently is a config.Lookup that retries until lookupTimeout.
func lookupPatiently(ctx context.Context, network, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	for {
		ips, err := net.DefaultResolver.LookupNetIP(ctx, network, host)
		if err == nil {
			return ips, nil
		}
		select {
		case <-time.After(lookupRetry):
		case <-ctx.Done():
			return nil, err
		}
	}
}
