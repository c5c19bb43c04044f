package v2tree

import (
	"math"
	"time"

	"cairn/internal/deadline"
	"cairn/internal/kv"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
)

// deadlineOf returns when a TTL that begins now is over. It is never 0, which would mean that there
// is no deadline.
func deadlineOf(now kv.ClusterTime, ttl time.Duration) kv.ClusterTime {
	if ttl > 0 && now > math.MaxInt64-kv.ClusterTime(ttl) {
		return math.MaxInt64
	}
	return max(now+kv.ClusterTime(ttl), 1)
}

// moveDeadline brings table t in step with a key or directory whose deadline was old and is now
// next; 0 is none.
func moveDeadline(b *storage.Batch, kind deadline.Kind, path []byte, old, next kv.ClusterTime) {
	if old == next {
		return
	}
	var buf [64]byte
	if old != 0 {
		b.Delete(deadline.AppendKey(buf[:0], deadline.Entry{Time: old, Kind: kind, Name: path}))
	}
	if next != 0 {
		b.Set(deadline.AppendKey(buf[:0], deadline.Entry{Time: next, Kind: kind, Name: path}), nil)
	}
}

// Due returns the commands for the v2 deadlines that are not after now, the earliest first. It
// looks at the first limit entries of table t that are not before from, those of leases included:
// the caller looks at the same entries with lease.Due. Each command expires one key or directory,
// in one revision; where the deadline no longer holds, it only removes its entry. A command may be
// applied late or twice: it checks again whether its deadline holds.
func Due(r mvcc.Reading, from, now kv.ClusterTime, limit int) (due []Command, err error) {
	err = deadline.Visit(r.Cursor(deadline.Bounds(from, now)), limit, func(e deadline.Entry) error {
		if e.Kind == deadline.Key || e.Kind == deadline.Directory {
			due = append(due, Command{
				Kind: KindExpire, Path: append([]byte(nil), e.Name...), Dir: e.Kind == deadline.Directory, Deadline: e.Time,
			})
		}
		return nil
	})
	return due, err
}
