package mvcc

import (
	"encoding/binary"
	"math"

	"cairn/internal/kv"
	"cairn/internal/storage"
)

// appendLeaseKey appends the key of table k for a lease and a user key.
func appendLeaseKey(dst []byte, id kv.LeaseID, key []byte) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, byte(storage.TableLeaseKeys)), uint64(id))
	return append(dst, key...)
}

// LeaseKeyBounds returns the bounds of a lease's entries in table k. The lower bound is also their
// prefix; the user key follows it.
func LeaseKeyBounds(id kv.LeaseID) (lower, upper []byte) {
	lower = appendLeaseKey(nil, id, nil)
	if uint64(id) == math.MaxUint64 {
		return lower, []byte{byte(storage.TableLeaseKeys) + 1}
	}
	return lower, appendLeaseKey(nil, kv.LeaseID(uint64(id)+1), nil)
}

// moveLease updates table k for a key whose lease was old and is now next; 0 means none. A
// tombstone has no lease.
func (w *Writer) moveLease(key []byte, old, next kv.LeaseID) {
	if old == next {
		return
	}
	var buf [64]byte
	if old != 0 {
		w.b.Delete(appendLeaseKey(buf[:0], old, key))
	}
	if next != 0 {
		w.b.Set(appendLeaseKey(buf[:0], next, key), nil)
	}
}
