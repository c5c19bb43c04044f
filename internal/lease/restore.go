package lease

import (
	"fmt"

	"cairn/internal/kv"
	"cairn/internal/storage"
)

// Restore writes a lease of another store into a batch. left is its remaining TTL in seconds,
// counted from cluster time 0.
func Restore(b *storage.Batch, id kv.LeaseID, ttl, left int64) error {
	if id == 0 || ttl < 0 || ttl > TTLMax || left < 0 || left > ttl {
		return fmt.Errorf("lease %x: TTL %d s with %d s left: want 0 to %d", uint64(id), ttl, left, int64(TTLMax))
	}
	store(b, &Lease{ID: id, TTL: ttl, Deadline: max(deadlineOf(0, left), 1)})
	return nil
}
