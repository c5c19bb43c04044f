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
	// KindExtend moves the deadlines of leases ahead of what their clients were promised. It has no
	// effect in an entry of another term.
	KindExtend Kind = 5
	// KindEnd revokes a lease whose promise has passed, before its deadline in the state: if the
	// deadline is still the given one, and in an entry of the given term only. Another term's
	// leader may have renewed the lease in memory.
	KindEnd Kind = 6
)

// Command changes a lease, or several if it is an extension. TTL is used by a grant, Deadline by an
// expiry and an end, Term by an extension and an end.
type Command struct {
	Kind     Kind
	ID       kv.LeaseID
	TTL      int64 // seconds
	Deadline kv.ClusterTime
	Term     uint64       // of raft
	IDs      []kv.LeaseID // of an extension, instead of ID
}

// Position is where a command is applied: the cluster time and the raft term of its entry.
type Position struct {
	Time kv.ClusterTime
	Term uint64
}

// Append appends the command's bytes, as drawn in docs/formats/leases.md.
func (c *Command) Append(dst []byte) []byte {
	dst = append(dst, byte(c.Kind))
	if c.Kind == KindExtend {
		dst = binary.AppendUvarint(dst, c.Term)
		for _, id := range c.IDs {
			dst = binary.BigEndian.AppendUint64(dst, uint64(id))
		}
		return dst
	}
	dst = binary.BigEndian.AppendUint64(dst, uint64(c.ID))
	switch c.Kind {
	case KindGrant:
		dst = binary.AppendUvarint(dst, uint64(c.TTL))
	case KindExpire:
		dst = binary.AppendUvarint(dst, uint64(c.Deadline))
	case KindEnd:
		dst = binary.AppendUvarint(binary.AppendUvarint(dst, uint64(c.Deadline)), c.Term)
	}
	return dst
}

// Decode is the inverse of Append. The result does not alias b.
func Decode(b []byte) (c Command, err error) {
	r := codec.NewReader(b)
	if c.Kind = Kind(r.Byte()); c.Kind == KindExtend {
		c.Term, c.IDs = r.Uvarint(), takeIDs(&r)
	} else if c.ID = kv.LeaseID(r.Uint64()); c.ID == 0 {
		r.Fail("no lease")
	}
	switch c.Kind {
	case KindGrant:
		c.TTL = takeTTL(&r)
	case KindExpire:
		c.Deadline = takeDeadline(&r)
	case KindEnd:
		c.Deadline, c.Term = takeDeadline(&r), r.Uvarint()
	case KindRevoke, KindRenew, KindExtend:
	default:
		r.Fail("kind %d", c.Kind)
	}
	if err := r.End(); err != nil {
		return c, fmt.Errorf("%w: command %x: %w", ErrCorrupt, b, err)
	}
	return c, nil
}

func takeIDs(r *codec.Reader) (ids []kv.LeaseID) {
	for r.Len() > 0 && r.Err() == nil {
		id := kv.LeaseID(r.Uint64())
		if id == 0 {
			r.Fail("no lease")
		}
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		r.Fail("no leases")
	}
	return ids
}

// Change is what a command has done to a lease.
type Change struct {
	ID       kv.LeaseID
	Deadline kv.ClusterTime // in the state, unless the lease has ended
	// Promised is the end of the TTL that a renewal by command has promised; 0 for other commands.
	Promised kv.ClusterTime
	Ended    bool
}

// Apply runs a command inside the writer's open command. It returns the lease as it is afterwards
// or, when it ended, as it was before, and appends the changes of leases that existed before to
// changes. The refusals are ErrExists and mvcc.ErrLeaseNotFound.
func Apply(w *mvcc.Writer, at Position, c *Command, changes []Change) (Lease, []Change, error) {
	b, now := w.Batch(), at.Time
	if c.Kind == KindExtend {
		changes, err := extend(b, at, c, changes)
		return Lease{}, changes, err
	}
	old, ok, err := get(b.Lend, c.ID)
	if err != nil {
		return Lease{}, changes, err
	}
	switch {
	case c.Kind == KindGrant && ok:
		return Lease{}, changes, ErrExists
	case c.Kind == KindGrant:
		l := Lease{ID: c.ID, TTL: c.TTL, Deadline: deadlineOf(now, c.TTL)}
		store(b, &l)
		return l, changes, nil
	case c.Kind == KindExpire && (!ok || old.Deadline != c.Deadline || !old.Expired(now)):
		return Lease{}, changes, nil // the lease was renewed, or does not exist
	case c.Kind == KindEnd && (!ok || old.Deadline != c.Deadline || at.Term != c.Term):
		return Lease{}, changes, nil // the same, or this term's leader has not decided it
	case !ok, c.Kind == KindRenew && old.Expired(now):
		return Lease{}, changes, mvcc.ErrLeaseNotFound
	case c.Kind == KindRenew:
		l := renewed(old, now)
		replace(b, &old, &l)
		return l, append(changes, Change{ID: l.ID, Deadline: l.Deadline, Promised: deadlineOf(now, l.TTL)}), nil
	default: // a revocation, or an expiry or end that is due
		ended, err := end(w, &old, c.Kind != KindRevoke)
		if ended {
			changes = append(changes, Change{ID: c.ID, Ended: true})
		}
		return old, changes, err
	}
}

// renewed returns a lease renewed at now. The deadline of a lease that is ahead always changes, so
// that an end which was decided before the renewal has no effect after it.
func renewed(l Lease, now kv.ClusterTime) Lease {
	promised := deadlineOf(now, l.TTL)
	if l.Ahead == 0 || promised > l.Deadline {
		l.Deadline, l.Ahead = promised, 0
		return l
	}
	if promised = max(promised, l.Promised()); l.Deadline < math.MaxInt64 {
		l.Deadline++
	}
	l.Ahead = l.Deadline - promised
	return l
}

// aheadOf returns how far an extension moves a deadline ahead of what it promises: three TTLs up to
// a minute, so that a lease of 10 s costs a write in half a minute; or one TTL up to an hour. By
// that a lease may end late, but only if leaders follow one another faster than its TTL.
func aheadOf(ttl int64) kv.ClusterTime {
	const minute, hour = 60, 3600
	return deadlineOf(0, max(min(3*ttl, minute), min(ttl, hour)))
}

// extend moves deadlines ahead. Leases that do not exist or have expired are left out.
func extend(b *storage.Batch, at Position, c *Command, changes []Change) ([]Change, error) {
	if at.Term != c.Term {
		return changes, nil
	}
	for _, id := range c.IDs {
		old, ok, err := get(b.Lend, id)
		if err != nil {
			return changes, err
		}
		if !ok || old.Expired(at.Time) {
			continue
		}
		l := old
		promised := deadlineOf(at.Time, l.TTL)
		if l.Deadline = promised + min(aheadOf(l.TTL), math.MaxInt64-promised); l.Deadline <= old.Deadline {
			continue
		}
		l.Ahead = l.Deadline - max(old.Promised(), promised)
		replace(b, &old, &l)
		changes = append(changes, Change{ID: id, Deadline: l.Deadline})
	}
	return changes, nil
}

// deadlineOf returns the deadline of a TTL that starts at now.
func deadlineOf(now kv.ClusterTime, ttl int64) kv.ClusterTime {
	if ttl > math.MaxInt64/int64(time.Second) {
		return math.MaxInt64
	}
	span := kv.ClusterTime(ttl) * kv.ClusterTime(time.Second)
	if now > math.MaxInt64-span {
		return math.MaxInt64
	}
	return now + span
}

func store(b *storage.Batch, l *Lease) {
	b.Set(leaseKey(l.ID), l.value())
	b.Set(deadlineKey(l.Deadline, l.ID), nil)
}

// replace stores a lease over its previous form.
func replace(b *storage.Batch, old, l *Lease) {
	if old.Deadline != l.Deadline {
		b.Delete(deadlineKey(old.Deadline, old.ID))
	}
	store(b, l)
}

// end removes a lease and its keys. It deletes the keys in order, so that all members assign the
// same revisions. Deleting a key removes its entry from table k. When the keys exceed what one
// command may change, a revocation is refused; an expiry deletes as many as it may and keeps the
// lease, and the next expiry continues with the rest: then ended is false.
func end(w *mvcc.Writer, l *Lease, expiry bool) (ended bool, err error) {
	keys, err := Keys(w.Reading(), l.ID)
	if err != nil {
		return false, err
	}
	for i, key := range keys {
		_, err := w.Delete(&mvcc.DeleteOp{KeyRange: kv.KeyRange{Key: key}})
		if expiry && i > 0 && errors.Is(err, mvcc.ErrTooLarge) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("delete key of lease %x: %w", uint64(l.ID), err)
		}
	}
	w.Batch().Delete(leaseKey(l.ID))
	w.Batch().Delete(deadlineKey(l.Deadline, l.ID))
	return true, nil
}
