package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

var (
	putP50Expiring = metric{"put p50 while they expire", formatMicros}
	putP99Expiring = metric{"put p99 while they expire", formatMicros}
	allExpired     = metric{"all expired after", seconds}
	listTook       = metric{"list took", seconds}
	listRate       = metric{"keys listed", perSecond}
)

const (
	expiringLeases    = 100_000
	expiryPatience    = 4 * time.Minute
	expiryPutClients  = 10
	grantClients      = 200
	expiryGrantMargin = 100 * time.Second // time allowed for the grants
)

// runExpiry grants leases that expire together, and puts other keys while they do.
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
		return nil, fmt.Errorf("granting %d leases took %v longer than the lifetime of the first", n, late)
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
		return nil, fmt.Errorf("puts while leases expire: %w", err)
	}
	if err := <-gone; err != nil {
		return nil, err
	}
	return sample{putP50Expiring.name: r.Latency.P50, putP99Expiring.name: r.Latency.P99, allExpired.name: took.Seconds()}, nil
}

// sleep waits for d, and returns false when the context ends first.
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

// grantAll grants n leases that expire at about the same time.
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

// awaitNoLeases returns when the last lease has expired.
func awaitNoLeases(ctx context.Context, conns *v3Conns) error {
	client := pb.NewLeaseClient(conns.conns[0])
	for begin := time.Now(); ; {
		response, err := client.LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
		if err != nil {
			return fmt.Errorf("list leases: %w", err)
		}
		if len(response.Leases) == 0 {
			return nil
		}
		if time.Since(begin) > expiryPatience {
			return fmt.Errorf("%d leases are left %v after their deadline", len(response.Leases), expiryPatience)
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
	// Restart, so that memory used by the fill is not counted.
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
	response, err := conns.kv(0).Range(ctx, &pb.RangeRequest{Key: []byte(s.prefix), RangeEnd: keys.end()})
	if err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	took := time.Since(begin)
	if len(response.Kvs) != s.keys {
		return nil, wrongCount("keys listed", int64(len(response.Kvs)), int64(s.keys))
	}
	usage, err := sampleProcess(t.server.pid())
	if err != nil {
		return nil, err
	}
	return sample{listTook.name: took.Seconds(), listRate.name: float64(s.keys) / took.Seconds(), memoryPeak.name: float64(usage.rssPeak)}, nil
}
