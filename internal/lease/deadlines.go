package lease

import (
	"encoding/binary"
	"errors"
	"fmt"

	"cairn/internal/kv"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
)

// deadlineLease is the kind of leases' entries in table t. It is stored; v2tree defines the other
// kinds.
const deadlineLease = 'l'

func deadlineKey(deadline kv.ClusterTime, id kv.LeaseID) []byte {
	key := binary.BigEndian.AppendUint64([]byte{byte(storage.TableDeadlines)}, uint64(deadline))
	return binary.BigEndian.AppendUint64(append(key, deadlineLease), uint64(id))
}

// Due returns the commands that expire leases whose deadline has passed at now. It examines the
// first limit entries of table t that are not before from. Entries of other kinds count towards
// limit, so that a caller that reads the other kinds with the same limit sees every due entry once.
func Due(r mvcc.Reading, from, now kv.ClusterTime, limit int) (due []Command, err error) {
	lower := binary.BigEndian.AppendUint64([]byte{byte(storage.TableDeadlines)}, uint64(from))
	it := r.Cursor(lower, []byte{byte(storage.TableDeadlines) + 1})
	for ok := it.First(); ok && limit > 0; ok = it.Next() {
		limit--
		key := it.Key()
		if len(key) < 10 {
			return nil, errors.Join(fmt.Errorf("%w: deadline %x", ErrCorrupt, key), it.Close())
		}
		deadline := kv.ClusterTime(binary.BigEndian.Uint64(key[1:]))
		if deadline > now {
			break
		}
		if key[9] != deadlineLease {
			continue
		}
		if len(key) != 18 {
			return nil, errors.Join(fmt.Errorf("%w: deadline %x", ErrCorrupt, key), it.Close())
		}
		id := kv.LeaseID(binary.BigEndian.Uint64(key[10:]))
		due = append(due, Command{Kind: KindExpire, ID: id, Deadline: deadline})
	}
	return due, it.Close()
}
