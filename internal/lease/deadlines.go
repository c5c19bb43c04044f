package lease

import (
	"encoding/binary"
	"fmt"

	"cairn/internal/deadline"
	"cairn/internal/kv"
	"cairn/internal/mvcc"
)

// deadlineKey returns the key of a lease's entry in table t.
func deadlineKey(at kv.ClusterTime, id kv.LeaseID) []byte {
	var name [8]byte
	binary.BigEndian.PutUint64(name[:], uint64(id))
	return deadline.AppendKey(nil, deadline.Entry{Time: at, Kind: deadline.Lease, Name: name[:]})
}

// Due returns the commands that expire leases whose deadline has passed at now. It examines the
// first limit entries of table t that are not before from. Entries of other kinds count towards
// limit, so that a caller that reads the other kinds with the same limit sees every due entry once.
func Due(r mvcc.Reading, from, now kv.ClusterTime, limit int) (due []Command, err error) {
	err = deadline.Visit(r.Cursor(deadline.Bounds(from, now)), limit, func(e deadline.Entry) error {
		if e.Kind != deadline.Lease {
			return nil
		}
		if len(e.Name) != 8 {
			return fmt.Errorf("%w: deadline of lease %x", ErrCorrupt, e.Name)
		}
		due = append(due, Command{Kind: KindExpire, ID: kv.LeaseID(binary.BigEndian.Uint64(e.Name)), Deadline: e.Time})
		return nil
	})
	return due, err
}
