package migrate

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/internal/kv"
	"cairn/internal/migration"
)

// leaseWorkers is the number of leases that are requested at a time.
const leaseWorkers = 32

// leases are the granted TTLs of the source's leases.
type leases map[clientv3.LeaseID]int64

// takeLeases returns the source's leases. TTLs in known are not requested again: the TTL of a lease
// never changes.
func (m *Migration) takeLeases(ctx context.Context, known leases) (leases, error) {
	list, err := m.o.Source.Leases(ctx)
	if err != nil {
		return nil, fmt.Errorf("old cluster: list leases: %w", err)
	}
	found, unknown := leases{}, make(chan clientv3.LeaseID, len(list.Leases))
	for _, l := range list.Leases {
		if ttl, ok := known[l.ID]; ok {
			found[l.ID] = ttl
		} else {
			unknown <- l.ID
		}
	}
	close(unknown)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex // guards found
	var wg sync.WaitGroup
	for range leaseWorkers {
		wg.Go(func() {
			for id := range unknown {
				r, err := m.o.Source.TimeToLive(ctx, id)
				if err != nil {
					cancel(fmt.Errorf("old cluster: read lease %x: %w", int64(id), err))
					return
				}
				// A lease that has expired in the meantime, or whose expiry the source refuses,
				// ends at once.
				mu.Lock()
				found[id] = max(r.GrantedTTL, 1)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return found, context.Cause(ctx)
}

// command returns the command that creates these leases in the target. Each has its full TTL again,
// as after an election in etcd: no lease may expire early, and running holders renew theirs.
func (l leases) command() *migration.Command {
	c := &migration.Command{Kind: migration.KindLeases}
	for _, id := range slices.Sorted(maps.Keys(l)) {
		c.Leases = append(c.Leases, migration.Lease{ID: kv.LeaseID(id), TTL: l[id], Left: l[id]})
	}
	return c
}
