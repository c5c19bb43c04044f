package main

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// The IDs of the leases of the two parts.
const (
	firstOfMany     = int64(1) << 40
	firstOfTogether = int64(2) << 40
)

// leaseFlagsOf returns the flags of the workloads that grant and renew leases.
func (m *manyRun) leaseFlagsOf(first int64, n, perRequest int) []string {
	return append(m.limit(perRequest), "-keys", strconv.Itoa(n), "-first-lease", strconv.FormatInt(first, 10),
		"-clients", strconv.Itoa(m.clients), "-connections", strconv.Itoa(min(m.clients, 20)))
}

func ttlFlag(ttl time.Duration) []string {
	return []string{"-ttl", strconv.Itoa(int(ttl / time.Second))}
}

// leasesLive grants leases, renews them once, and waits until all have expired.
func (m *manyRun) leasesLive(ctx context.Context) error {
	n := m.leases
	if n == 0 {
		return nil
	}
	before, ttl := m.memory(), m.lifetime(n)
	expired, err := m.server.counter(ctx, leasesExpired)
	if err != nil {
		return err
	}
	err = m.phase(ctx, "leases granted", uint64(n), func() error {
		_, err := m.run(ctx, grantKind, append(m.leaseFlagsOf(firstOfMany, n, 1), ttlFlag(ttl)...)...)
		return err
	})
	if err != nil {
		return err
	}
	m.note("leases: RSS of the server for each", (m.memory()-before)/float64(n), formatBytes)
	renewed := time.Now()
	err = m.phase(ctx, "leases renewed", uint64(n), func() error {
		const batch = 100
		if _, err := m.run(ctx, renewKind, append(m.leaseFlagsOf(firstOfMany, n, batch), "-batch", strconv.Itoa(batch))...); err != nil {
			return fmt.Errorf("%w (a -ttl of more than %v gives more time)", err, ttl)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := m.until(ctx, "leases live", renewed.Add(ttl)); err != nil {
		return err
	}
	return m.expire(ctx, "leases expired", expired, n)
}

// leasesEndTogether grants leases that end at the same time, and waits until they have expired.
func (m *manyRun) leasesEndTogether(ctx context.Context) error {
	n := m.together
	if n == 0 {
		return nil
	}
	expired, err := m.server.counter(ctx, leasesExpired)
	if err != nil {
		return err
	}
	ttl := m.lifetime(n)
	end := time.Now().Add(ttl)
	err = m.phase(ctx, "granted, to end together", uint64(n), func() error {
		_, err := m.run(ctx, grantKind, append(append(m.leaseFlagsOf(firstOfTogether, n, 1), "-together"), ttlFlag(ttl)...)...)
		return err
	})
	if err != nil {
		return err
	}
	if err := m.until(ctx, "until they end", end); err != nil {
		return err
	}
	return m.expire(ctx, "ended together", expired, n)
}

// until is a phase without other work up to a time.
func (m *manyRun) until(ctx context.Context, name string, end time.Time) error {
	if time.Until(end) <= 0 {
		return nil
	}
	return m.phase(ctx, name, 0, func() error {
		sleep(ctx, time.Until(end))
		return nil
	})
}

// leasesExpired is the metric of leases that the server has ended because their time was over.
const leasesExpired = "etcd_debugging_server_lease_expired_total"

// expire is a phase that lasts until n leases have expired since the metric had the given value.
func (m *manyRun) expire(ctx context.Context, name string, before, n int) error {
	return m.phase(ctx, name, uint64(n), func() error {
		seen := 0
		for patience := time.Now().Add(expiryPatience); ; {
			total, err := m.server.counter(ctx, leasesExpired)
			if err != nil {
				return err
			}
			if now := total - before; now > seen {
				m.line.Work(uint64(now-seen), time.Now())
				seen, patience = now, time.Now().Add(expiryPatience)
			}
			if seen >= n {
				return m.checkNoLeases(ctx)
			}
			if time.Now().After(patience) {
				return fmt.Errorf("%d of %d leases are left, and none has expired for %v", n-seen, n, expiryPatience)
			}
			if !sleep(ctx, 250*time.Millisecond) {
				return ctx.Err()
			}
		}
	})
}

// checkNoLeases waits until the server has no lease.
func (m *manyRun) checkNoLeases(ctx context.Context) error {
	conns, err := dialV3(ctx, settings{endpoints: []endpoint{m.server.endpoint()}, connections: 1, patience: time.Minute})
	if err != nil {
		return err
	}
	defer conns.close()
	return awaitNoLeases(ctx, conns)
}
