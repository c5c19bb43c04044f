package lease

import (
	"fmt"

	"cairn/internal/kv"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
)

// Restore writes a lease of another store into a batch. left is its remaining TTL in seconds,
// counted from cluster time 0.
func Restore(b *storage.Batch, id kv.LeaseID, ttl, left int64) error {
	return RestoreAt(b, 0, id, ttl, left)
}

// RestoreAt is Restore with the rest of the TTL from another cluster time on.
func RestoreAt(b *storage.Batch, now kv.ClusterTime, id kv.LeaseID, ttl, left int64) error {
	if err := CheckRestored(id, ttl, left); err != nil {
		return err
	}
	store(b, &Lease{ID: id, TTL: ttl, Deadline: max(deadlineOf(now, left), 1)})
	return nil
}

// CheckRestored returns a refusal when Restore cannot write a lease.
func CheckRestored(id kv.LeaseID, ttl, left int64) error {
	if id == 0 || ttl < 0 || ttl > TTLMax || left < 0 || left > ttl {
		return fmt.Errorf("%w: lease %x: TTL %d s with %d s left: want 0 to %d", ErrRestored, uint64(id), ttl, left, int64(TTLMax))
	}
	return nil
}

// ErrRestored refuses a lease of another store that cannot be.
var ErrRestored = kv.NewRefusal("impossible lease")

// Checkpoint sets the rest of a lease's TTL in the open command of w, as etcd's log has it; 0 or
// more than the TTL means all of it. It does nothing if there is no such lease.
func Checkpoint(w *mvcc.Writer, now kv.ClusterTime, id kv.LeaseID, left int64) error {
	b := w.Batch()
	l, ok, err := get(b.Lend, id)
	if err != nil || !ok {
		return err
	}
	if left <= 0 || left > l.TTL {
		left = l.TTL
	}
	b.Delete(deadlineKey(l.Deadline, l.ID))
	l.Deadline, l.Ahead = deadlineOf(now, left), 0
	store(b, &l)
	return nil
}

// Clear removes all leases, but no key, in the open command of w.
func Clear(w *mvcc.Writer) error {
	all, err := List(w.Reading())
	if err != nil {
		return err
	}
	for i := range all {
		w.Batch().Delete(leaseKey(all[i].ID))
		w.Batch().Delete(deadlineKey(all[i].Deadline, all[i].ID))
	}
	return nil
}
