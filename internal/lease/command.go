package lease

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"cairn/internal/codec"
	"cairn/internal/kv"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
)

// Kind is the kind of a command. The values are stored; never renumber them.
type Kind byte

// The kinds of commands.
const (
	KindGrant  Kind = 1
	KindRevoke Kind = 2
	KindRenew  Kind = 3
	// KindExpire revokes a lease if its deadline is still the given one and has passed.
	KindExpire Kind = 4
)

// Command changes one lease. TTL is used by a grant, Deadline by an expiry.
type Command struct {
	Kind     Kind
	ID       kv.LeaseID
	TTL      int64 // seconds
	Deadline kv.ClusterTime
}

// Append appends the command's bytes, as drawn in docs/formats/leases.md.
func (c *Command) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, byte(c.Kind)), uint64(c.ID))
	switch c.Kind {
	case KindGrant:
		dst = binary.AppendUvarint(dst, uint64(c.TTL))
	case KindExpire:
		dst = binary.AppendUvarint(dst, uint64(c.Deadline))
	}
	return dst
}

// Decode is the inverse of Append. The result does not alias b.
func Decode(b []byte) (c Command, err error) {
	r := codec.NewReader(b)
	c.Kind, c.ID = Kind(r.Byte()), kv.LeaseID(r.Uint64())
	switch c.Kind {
	case KindGrant:
		c.TTL = takeTTL(&r)
	case KindExpire:
		c.Deadline = takeDeadline(&r)
	case KindRevoke, KindRenew:
	default:
		r.Fail("kind %d", c.Kind)
	}
	if c.ID == 0 {
		r.Fail("no lease")
	}
	if err := r.End(); err != nil {
		return c, fmt.Errorf("%w: command %x: %w", ErrCorrupt, b, err)
	}
	return c, nil
}

// Apply runs a command inside the writer's open command. It returns the lease as it is afterwards
// or, when it ended, as it was before. The refusals are ErrExists and mvcc.ErrLeaseNotFound.
func Apply(w *mvcc.Writer, now kv.ClusterTime, c *Command) (Lease, error) {
	b := w.Batch()
	old, ok, err := get(b.Lend, c.ID)
	if err != nil {
		return Lease{}, err
	}
	switch {
	case c.Kind == KindGrant && ok:
		return Lease{}, ErrExists
	case c.Kind == KindGrant:
		l := Lease{ID: c.ID, TTL: c.TTL, Deadline: deadlineOf(now, c.TTL)}
		store(b, &l)
		return l, nil
	case c.Kind == KindExpire && (!ok || old.Deadline != c.Deadline || !old.Expired(now)):
		return Lease{}, nil // the lease was renewed, or does not exist
	case !ok, c.Kind == KindRenew && old.Expired(now):
		return Lease{}, mvcc.ErrLeaseNotFound
	case c.Kind == KindRenew:
		l := old
		l.Deadline = deadlineOf(now, l.TTL)
		b.Delete(deadlineKey(old.Deadline, l.ID))
		store(b, &l)
		return l, nil
	default: // a revocation, or an expiry that is due
		return old, end(w, &old, c.Kind == KindExpire)
	}
}

// deadlineOf returns the deadline of a TTL that starts at now.
func deadlineOf(now kv.ClusterTime, ttl int64) kv.ClusterTime {
	span := kv.ClusterTime(ttl) * kv.ClusterTime(time.Second) // no overflow: ttl is at most TTLMax
	if now > math.MaxInt64-span {
		return math.MaxInt64
	}
	return now + span
}

func store(b *storage.Batch, l *Lease) {
	b.Set(leaseKey(l.ID), l.value())
	b.Set(deadlineKey(l.Deadline, l.ID), nil)
}

// end removes a lease and its keys. It deletes the keys in order, so that all members assign the
// same revisions. Deleting a key removes its entry from table k. When the keys exceed what one
// command may change, a revocation is refused; an expiry deletes as many as it may and keeps the
// lease, and the next expiry continues with the rest.
func end(w *mvcc.Writer, l *Lease, expiry bool) error {
	keys, err := Keys(w.Reading(), l.ID)
	if err != nil {
		return err
	}
	for i, key := range keys {
		_, err := w.Delete(&mvcc.DeleteOp{KeyRange: kv.KeyRange{Key: key}})
		if expiry && i > 0 && errors.Is(err, mvcc.ErrTooLarge) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("delete key of lease %x: %w", uint64(l.ID), err)
		}
	}
	w.Batch().Delete(leaseKey(l.ID))
	w.Batch().Delete(deadlineKey(l.Deadline, l.ID))
	return nil
}
