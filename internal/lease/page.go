package lease

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"cairn/internal/kv"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
)

// Page returns up to limit leases in the order of their IDs as unsigned numbers, from the first one
// that is not before from.
func Page(r mvcc.Reading, from kv.LeaseID, limit int) (leases []Lease, err error) {
	it := r.Cursor(leaseKey(from), []byte{byte(storage.TableLeases) + 1})
	for ok := it.First(); ok && err == nil && len(leases) < limit; ok = it.Next() {
		var l Lease
		l, err = decode(it.Key(), it.Value())
		leases = append(leases, l)
	}
	if err := errors.Join(err, it.Close()); err != nil {
		return nil, fmt.Errorf("list leases: %w", err)
	}
	return leases, nil
}

// Count returns the number of leases, or limit if there are more.
func Count(r mvcc.Reading, limit int) (n int, err error) {
	it := r.Cursor([]byte{byte(storage.TableLeases)}, []byte{byte(storage.TableLeases) + 1})
	for ok := it.First(); ok && n < limit; ok = it.Next() {
		n++
	}
	if err := it.Close(); err != nil {
		return 0, fmt.Errorf("count leases: %w", err)
	}
	return n, nil
}

// WalkKeys visits the keys of leases, in the order of the leases' IDs as unsigned numbers and of
// the keys, from the first lease that is not before from, until visit returns false. The key is
// valid during the call.
func WalkKeys(r mvcc.Reading, from kv.LeaseID, visit func(id kv.LeaseID, key []byte) bool) error {
	lower, _ := mvcc.LeaseKeyBounds(from)
	_, upper := mvcc.LeaseKeyBounds(kv.LeaseID(-1)) // the last one: all bits are set
	it := r.Cursor(lower, upper)
	for ok := it.First(); ok; ok = it.Next() {
		key := it.Key()[1:]
		if !visit(kv.LeaseID(binary.BigEndian.Uint64(key)), key[8:]) {
			break
		}
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("read keys of leases: %w", err)
	}
	return nil
}

// Next returns the ID after one in the order of Page; ok is false behind the last one.
func Next(id kv.LeaseID) (next kv.LeaseID, ok bool) {
	return kv.LeaseID(uint64(id) + 1), uint64(id) != math.MaxUint64
}
