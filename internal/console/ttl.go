package console

import (
	"time"

	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/mvcc"
)

// The owners of a TTL.
const (
	ttlOfV2    = "v2"
	ttlOfLease = "lease"
)

// leaseTimes returns remaining TTLs; it reads each lease once.
type leaseTimes struct {
	reading mvcc.Reading
	now     kv.ClusterTime
	left    map[kv.LeaseID]int64
}

// ttl returns the seconds after which a key expires, and what they belong to; noTTL if it does not
// expire.
func (l *leaseTimes) ttl(rec *kv.Record) (left int64, of string) {
	switch {
	case rec.Deadline != 0:
		return secondsLeft(rec.Deadline, l.now), ttlOfV2
	case rec.Lease != 0:
		return l.of(rec.Lease), ttlOfLease
	default:
		return noTTL, ""
	}
}

// of returns the remaining seconds of a lease; noTTL when it has been revoked or has expired, or
// cannot be read.
func (l *leaseTimes) of(id kv.LeaseID) int64 {
	left, ok := l.left[id]
	if !ok {
		left = noTTL
		if found, exists, err := lease.Get(l.reading, id); err == nil && exists {
			left = max(found.Left(l.now), 0)
		}
		l.left[id] = left
	}
	return left
}

func secondsLeft(deadline, now kv.ClusterTime) int64 {
	return max(int64((time.Duration(deadline-now)+time.Second-1)/time.Second), 0)
}
