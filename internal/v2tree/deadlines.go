package v2tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"cairn/internal/kv"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
)

// Kinds of entries in table t that are v2's. The values are stored.
const (
	deadlineKey       = 'k'
	deadlineDirectory = 'd'
)

// deadlineOf returns the deadline of a TTL that starts at now. It is never 0, which means no
// deadline.
func deadlineOf(now kv.ClusterTime, ttl time.Duration) kv.ClusterTime {
	if ttl > 0 && now > math.MaxInt64-kv.ClusterTime(ttl) {
		return math.MaxInt64
	}
	return max(now+kv.ClusterTime(ttl), 1)
}

func appendDeadlineKey(dst []byte, deadline kv.ClusterTime, kind byte, path []byte) []byte {
	dst = append(dst, byte(storage.TableDeadlines))
	dst = binary.BigEndian.AppendUint64(dst, uint64(deadline))
	return append(append(dst, kind), path...)
}

// parseDeadlineKey is the inverse of appendDeadlineKey. path aliases key.
func parseDeadlineKey(key []byte) (deadline kv.ClusterTime, kind byte, path []byte, err error) {
	if len(key) < 10 || key[1]&0x80 != 0 {
		return 0, 0, nil, fmt.Errorf("%w: deadline %x", ErrCorrupt, key[:min(len(key), 32)])
	}
	return kv.ClusterTime(binary.BigEndian.Uint64(key[1:9])), key[9], key[10:], nil
}

// moveDeadline updates table t for a key or directory whose deadline was old and is now next; 0
// means none.
func moveDeadline(b *storage.Batch, kind byte, path []byte, old, next kv.ClusterTime) {
	if old == next {
		return
	}
	var buf [64]byte
	if old != 0 {
		b.Delete(appendDeadlineKey(buf[:0], old, kind, path))
	}
	if next != 0 {
		b.Set(appendDeadlineKey(buf[:0], next, kind, path), nil)
	}
}

// Due returns the commands for the v2 deadlines that have passed at now. It examines the first
// limit entries of table t that are not before from, including those of leases, the earliest first.
// Each command expires one key or directory, in one revision, or removes an entry whose node no
// longer has the deadline. Commands may be applied late or twice: each checks the deadline again.
func Due(r mvcc.Reading, from, now kv.ClusterTime, limit int) (due []Command, err error) {
	upper := appendDeadlineKey(nil, now+1, 0, nil)
	if now == math.MaxInt64 {
		upper = []byte{byte(storage.TableDeadlines) + 1}
	}
	it := r.Cursor(appendDeadlineKey(nil, from, 0, nil), upper)
	for ok := it.First(); ok && limit > 0; ok = it.Next() {
		limit--
		deadline, kind, path, err := parseDeadlineKey(it.Key())
		if err != nil {
			return nil, errors.Join(err, it.Close())
		}
		if kind != deadlineKey && kind != deadlineDirectory {
			continue
		}
		due = append(due, Command{
			Kind: KindExpire, Path: append([]byte(nil), path...), Dir: kind == deadlineDirectory, Deadline: deadline,
		})
	}
	return due, it.Close()
}
