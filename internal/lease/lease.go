// Package lease keeps v3's leases: their TTLs, their deadlines, and the keys that are deleted with
// them.
//
// It owns the commands on leases and their bytes, table l, and the entries of leases in table t,
// all drawn in docs/formats/leases.md. mvcc writes table k, the keys of each lease, with every
// change of a key. The package does not own the choice of IDs, the minimum TTL (v3rpc), or the
// clock (member).
//
// Invariants: a lease of table l has exactly one entry in table t, at its deadline (Verify); a
// lease ends with all its keys in one revision, unless it expires with more keys than one command
// may change; a lease whose deadline has passed is never renewed.
//
// All functions depend only on the state, the command and the cluster time. Apply belongs to the
// applier's goroutine; the others may be called from any goroutine.
package lease

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sort"
	"time"

	"cairn/internal/codec"
	"cairn/internal/kv"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
)

// ErrExists refuses to grant a lease whose ID is taken.
var ErrExists = kv.NewRefusal("lease already exists")

// ErrCorrupt is wrapped by the errors about bytes that no cairn has written.
var ErrCorrupt = errors.New("corrupt lease")

// TTLMax is the longest TTL, in seconds, as in etcd.
const TTLMax = 9_000_000_000

// Lease is one lease.
type Lease struct {
	ID       kv.LeaseID
	TTL      int64 // granted, in seconds
	Deadline kv.ClusterTime
	// Ahead is how far the deadline is ahead of what commands have promised; a leader may have
	// promised more than these, but nothing after the deadline.
	Ahead kv.ClusterTime
}

// Expired reports whether the deadline has passed. The lease and its keys exist until the command
// that expires it.
func (l *Lease) Expired(now kv.ClusterTime) bool { return l.Deadline <= now }

// Promised returns until when commands have promised that the lease lives.
func (l *Lease) Promised() kv.ClusterTime { return l.Deadline - l.Ahead }

// Granted returns the TTL as a span of cluster time.
func (l *Lease) Granted() kv.ClusterTime { return deadlineOf(0, l.TTL) }

// Left returns the remaining TTL in whole seconds.
func (l *Lease) Left(now kv.ClusterTime) int64 {
	return int64(time.Duration(l.Deadline-now) / time.Second)
}

func leaseKey(id kv.LeaseID) []byte {
	return binary.BigEndian.AppendUint64([]byte{byte(storage.TableLeases)}, uint64(id))
}

func (l *Lease) value() []byte {
	b := make([]byte, 0, 24)
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(l.TTL)), uint64(l.Deadline))
	if l.Ahead > 0 {
		b = binary.AppendUvarint(b, uint64(l.Ahead))
	}
	return b
}

func decode(key, value []byte) (l Lease, err error) {
	if len(key) != 9 {
		return l, fmt.Errorf("%w: key %x", ErrCorrupt, key)
	}
	l.ID = kv.LeaseID(binary.BigEndian.Uint64(key[1:]))
	r := codec.NewReader(value)
	l.TTL, l.Deadline = takeTTL(&r), takeDeadline(&r)
	if r.Len() > 0 {
		if l.Ahead = takeDeadline(&r); l.Ahead == 0 || l.Ahead > l.Deadline {
			r.Fail("deadline %d is ahead by %d", l.Deadline, l.Ahead)
		}
	}
	if err := r.End(); err != nil {
		return l, fmt.Errorf("%w: %x of %x: %w", ErrCorrupt, value, key, err)
	}
	return l, nil
}

func takeTTL(r *codec.Reader) int64 {
	ttl := r.Uvarint()
	if ttl > TTLMax {
		r.Fail("TTL %d", ttl)
	}
	return int64(ttl)
}

func takeDeadline(r *codec.Reader) kv.ClusterTime {
	deadline := r.Uvarint()
	if deadline > math.MaxInt64 {
		r.Fail("deadline %d", deadline)
	}
	return kv.ClusterTime(deadline)
}

// Get returns a lease; ok is false when there is none.
func Get(r mvcc.Reading, id kv.LeaseID) (l Lease, ok bool, err error) {
	return get(r.Lend, id)
}

func get(lend func([]byte) ([]byte, io.Closer, error), id kv.LeaseID) (l Lease, ok bool, err error) {
	key := leaseKey(id)
	value, closer, err := lend(key)
	if errors.Is(err, storage.ErrNotFound) {
		return l, false, nil
	}
	if err != nil {
		return l, false, fmt.Errorf("read lease %x: %w", uint64(id), err)
	}
	l, err = decode(key, value)
	if closer != nil {
		err = errors.Join(err, closer.Close())
	}
	return l, err == nil, err
}

// List returns all leases, sorted by deadline, earliest first, as etcd lists them.
func List(r mvcc.Reading) (leases []Lease, err error) {
	err = Each(r, func(l *Lease) error {
		leases = append(leases, *l)
		return nil
	})
	if err != nil {
		return nil, err
	}
	SortByDeadline(leases)
	return leases, nil
}

// SortByDeadline sorts leases by deadline, earliest first.
func SortByDeadline(leases []Lease) {
	sort.SliceStable(leases, func(i, j int) bool { return leases[i].Deadline < leases[j].Deadline })
}

// Each calls visit with all leases, in the order of their IDs, until it returns an error.
func Each(r mvcc.Reading, visit func(*Lease) error) (err error) {
	it := r.Cursor([]byte{byte(storage.TableLeases)}, []byte{byte(storage.TableLeases) + 1})
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var l Lease
		if l, err = decode(it.Key(), it.Value()); err == nil {
			err = visit(&l)
		}
	}
	if err := errors.Join(err, it.Close()); err != nil {
		return fmt.Errorf("list leases: %w", err)
	}
	return nil
}

// listExtended returns the extended leases among up to limit leases from a key of table l on, or
// from the first, and the key to continue at, which is nil at the end.
func listExtended(r mvcc.Reading, from []byte, limit int) (found []kv.LeaseID, next []byte, err error) {
	if from == nil {
		from = []byte{byte(storage.TableLeases)}
	}
	it := r.Cursor(from, []byte{byte(storage.TableLeases) + 1})
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		if limit--; limit < 0 {
			next = append([]byte(nil), it.Key()...)
			break
		}
		var l Lease
		if l, err = decode(it.Key(), it.Value()); l.Ahead > 0 {
			found = append(found, l.ID)
		}
	}
	if err := errors.Join(err, it.Close()); err != nil {
		return nil, nil, fmt.Errorf("list extended leases: %w", err)
	}
	return found, next, nil
}

// HasKey reports whether a lease has a key in [from, to); to nil means no upper bound.
func HasKey(r mvcc.Reading, id kv.LeaseID, from, to []byte) (bool, error) {
	prefix, upper := mvcc.LeaseKeyBounds(id)
	if to != nil {
		upper = append(prefix[:len(prefix):len(prefix)], to...)
	}
	it := r.Cursor(append(prefix[:len(prefix):len(prefix)], from...), upper)
	found := it.First()
	if err := it.Close(); err != nil {
		return false, fmt.Errorf("read keys of lease %x: %w", uint64(id), err)
	}
	return found, nil
}

// Keys returns the keys of a lease, in order.
func Keys(r mvcc.Reading, id kv.LeaseID) (keys [][]byte, err error) {
	err = EachKey(r, id, func(key []byte) error {
		keys = append(keys, bytes.Clone(key))
		return nil
	})
	return keys, err
}

// EachKey calls visit with the keys of a lease, in order, until it returns an error. A key is valid
// during the call.
func EachKey(r mvcc.Reading, id kv.LeaseID, visit func(key []byte) error) (err error) {
	lower, upper := mvcc.LeaseKeyBounds(id)
	it := r.Cursor(lower, upper)
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		err = visit(it.Key()[len(lower):])
	}
	if err := errors.Join(err, it.Close()); err != nil {
		return fmt.Errorf("read keys of lease %x: %w", uint64(id), err)
	}
	return nil
}
