package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

var (
	putP50Expiring = metric{"put p50 while they end", formatMicros}
	putP99Expiring = metric{"put p99 while they end", formatMicros}
	allExpired     = metric{"all ended after", seconds}
	listTook       = metric{"list took", seconds}
	listRate       = metric{"keys listed", perSecond}
)

const (
	expiringLeases    = 100_000
	expiryPatience    = 4 * time.Minute
	expiryPutClients  = 10
	grantClients      = 200
	expiryGrantMargin = 100 * time.Second // that the grants may take
)

// runExpiry grants leases that end together, and puts other keys while they do.
func runExpiry(ctx context.Context, t *trial) (sample, error) {
	n := expiringLeases / t.scale.divisor
	margin := max(expiryGrantMargin/time.Duration(t.scale.divisor), 4*time.Second)
	s := t.settings(putKind)
	s.connections, s.clients = expiryPutClients, expiryPutClients
	conns, err := dialV3(ctx, s)
	if err != nil {
		return nil, err
	}
	defer conns.close()
	due := time.Now().Add(margin)
	if err := grantAll(ctx, conns, n, due); err != nil {
		return nil, err
	}
	if late := time.Since(due); late > 0 {
		return nil, fmt.Errorf("granting %d leases took %v longer than the first of them lives", n, late)
	}
	if !sleep(ctx, time.Until(due)) {
		return nil, ctx.Err()
	}
	gone := make(chan error, 1)
	puts, stop := context.WithCancel(ctx)
	defer stop()
	var took time.Duration
	go func() {
		defer stop()
		err := awaitNoLeases(ctx, conns)
		took = time.Since(due)
		gone <- err
	}()
	s.duration, s.warmup, s.total = expiryPatience, 0, 0
	r, err := t.measure(puts, putKind, s)
	if r == nil || r.Errors.Total > 0 {
		return nil, fmt.Errorf("puts while leases end: %w", err)
	}
	if err := <-gone; err != nil {
		return nil, err
	}
	return sample{putP50Expiring.name: r.Latency.P50, putP99Expiring.name: r.Latency.P99, allExpired.name: took.Seconds()}, nil
}

// sleep returns false when the context ends before.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// grantAll grants n leases that end at about the same time.
func grantAll(ctx context.Context, conns *v3Conns, n int, due time.Time) error {
	var group sync.WaitGroup
	failed := make(chan error, grantClients)
	for c := range grantClients {
		group.Go(func() {
			client := pb.NewLeaseClient(conns.conns[c%len(conns.conns)])
			for i := c; i < n; i += grantClients {
				ttl := int64((time.Until(due) + time.Second/2) / time.Second)
				if _, err := client.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: ttl}); err != nil {
					failed <- fmt.Errorf("grant lease %d: %w", i, err)
					return
				}
			}
		})
	}
	group.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// awaitNoLeases returns when the last lease has ended.
func awaitNoLeases(ctx context.Context, conns *v3Conns) error {
	client := pb.NewLeaseClient(conns.conns[0])
	for begin := time.Now(); ; {
		answer, err := client.LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
		if err != nil {
			return fmt.Errorf("list leases: %w", err)
		}
		if len(answer.Leases) == 0 {
			return nil
		}
		if time.Since(begin) > expiryPatience {
			return fmt.Errorf("%d leases are left %v after their end", len(answer.Leases), expiryPatience)
		}
		if !sleep(ctx, time.Second) {
			return ctx.Err()
		}
	}
}

// runList lists a million keys at once.
func runList(ctx context.Context, t *trial) (sample, error) {
	s, _, err := t.fillMillion(ctx)
	if err != nil {
		return nil, err
	}
	// What the fill left in memory is not the list's.
	if err := t.server.terminate(); err != nil {
		return nil, err
	}
	if _, err := t.server.start(ctx); err != nil {
		return nil, err
	}
	keys, err := newKeyspace(s)
	if err != nil {
		return nil, err
	}
	s.connections = 1
	conns, err := dialV3(ctx, s)
	if err != nil {
		return nil, err
	}
	defer conns.close()
	begin := time.Now()
	answer, err := conns.kv(0).Range(ctx, &pb.RangeRequest{Key: []byte(s.prefix), RangeEnd: keys.end()})
	if err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	took := time.Since(begin)
	if len(answer.Kvs) != s.keys {
		return nil, wrongCount("keys listed", int64(len(answer.Kvs)), int64(s.keys))
	}
	usage, err := sampleProcess(t.server.pid())
	if err != nil {
		return nil, err
	}
	return sample{listTook.name: took.Seconds(), listRate.name: float64(s.keys) / took.Seconds(), memoryPeak.name: float64(usage.rssPeak)}, nil
}
