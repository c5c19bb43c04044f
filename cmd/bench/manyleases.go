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
	err := m.phase(ctx, "leases granted", uint64(n), func() error {
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
	return m.expire(ctx, "leases expired", firstOfMany, n)
}

// leasesEndTogether grants leases that end at the same time, and waits until they have expired.
func (m *manyRun) leasesEndTogether(ctx context.Context) error {
	n := m.together
	if n == 0 {
		return nil
	}
	ttl := m.lifetime(n)
	end := time.Now().Add(ttl)
	err := m.phase(ctx, "granted, to end together", uint64(n), func() error {
		_, err := m.run(ctx, grantKind, append(append(m.leaseFlagsOf(firstOfTogether, n, 1), "-together"), ttlFlag(ttl)...)...)
		return err
	})
	if err != nil {
		return err
	}
	if err := m.until(ctx, "until they end", end); err != nil {
		return err
	}
	return m.expire(ctx, "ended together", firstOfTogether, n)
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

func (m *manyRun) expire(ctx context.Context, name string, first int64, n int) error {
	return m.phase(ctx, name, uint64(n), func() error { return m.awaitExpired(ctx, first, n) })
}
