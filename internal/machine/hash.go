package machine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"cairn/internal/alarm"
	"cairn/internal/migration"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
)

// hashedTables are the tables whose bytes are the same on all members after the same entry. The
// others differ between members: the boundaries of the count index's blocks, the tombstones left to
// sweep, and the position in the log.
var hashedTables = [...]storage.Table{
	storage.TableAuth, storage.TableCurrent, storage.TableDirectories, storage.TableLeaseKeys, storage.TableLeases,
	storage.TableMembers, storage.TableRevisions, storage.TableDeadlines,
}

// hashPauseEvery is the number of bytes between two calls of pause in Hash.
const hashPauseEvery = 1 << 20

// Hash returns a checksum of the whole state as of one applied entry, and its revision. Unlike
// mvcc.Store.Hash it pins a view of the store until it returns. It calls pause at intervals; an
// error of pause ends it.
func (m *Machine) Hash(pause func() error) (sum uint32, revision int64, err error) {
	it := m.db.NewIter(nil, nil)
	defer func() { err = errors.Join(err, it.Close()) }()
	if !it.SeekGE(positionKey) {
		return 0, 0, fmt.Errorf("hash state: read position: %w", errors.Join(it.Err(), storage.ErrNotFound))
	}
	p, err := decodePosition(it.Value())
	if err != nil {
		return 0, 0, fmt.Errorf("hash state: %w", err)
	}
	h := stateHash{it: it, compact: p.compact, pause: pause}
	for _, t := range hashedTables {
		if err := h.table([]byte{byte(t)}, t == storage.TableCurrent); err != nil {
			return 0, 0, fmt.Errorf("hash state: table %c: %w", t, err)
		}
	}
	if err := h.table(alarm.Prefix(), false); err != nil {
		return 0, 0, fmt.Errorf("hash state: alarms: %w", err)
	}
	if err := h.table(migration.Prefix(), false); err != nil {
		return 0, 0, fmt.Errorf("hash state: migration: %w", err)
	}
	return h.sum, p.revision, nil
}

type stateHash struct {
	it      *storage.Iter
	compact int64
	pause   func() error
	sum     uint32
	bytes   int // since the last call of pause
	length  []byte
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (h *stateHash) add(b []byte) {
	h.length = binary.AppendUvarint(h.length[:0], uint64(len(b)))
	h.sum = crc32.Update(crc32.Update(h.sum, castagnoli, h.length), castagnoli, b)
	h.bytes += len(b)
}

// table adds the key-values with a prefix. Of the newest records it skips tombstones that another
// member's sweep may have removed.
func (h *stateHash) table(prefix []byte, records bool) error {
	for ok := h.it.SeekGE(prefix); ok && string(h.it.Key()[:min(len(prefix), len(h.it.Key()))]) == string(prefix); ok = h.it.Next() {
		if h.bytes >= hashPauseEvery {
			h.bytes = 0
			if err := h.pause(); err != nil {
				return err
			}
		}
		value := h.it.Value()
		if records {
			passed, err := mvcc.Passed(value, h.compact)
			if err != nil {
				return err
			}
			if passed {
				continue
			}
		}
		h.add(h.it.Key())
		h.add(value)
	}
	return h.it.Err()
}
