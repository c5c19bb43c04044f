package mvcc

import (
	"encoding/binary"
	"errors"
	"fmt"

	"cairn/internal/kv"
	"cairn/internal/storage"
)

// Verify reads the whole key space and checks its tables against each other: the count index and
// the keys of leases against the records, and the history for a gap since the compaction. It
// returns the number of live keys. The store must not change meanwhile.
func (s *Store) Verify() (keys int64, err error) {
	if keys, err = s.verifyRecords(); err != nil {
		return keys, err
	}
	return keys, errors.Join(s.verifyLeaseKeys(), s.verifyHistory())
}

func (s *Store) verifyRecords() (keys int64, err error) {
	h := s.head.Load()
	live := map[string]int64{} // by the first key of the block
	it := s.db.NewIter(currentBounds(kv.KeyRange{Key: []byte{}, End: []byte{0}}))
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		user := it.Key()[1:]
		n, err := decodeNode(it.Value())
		switch {
		case err != nil:
			return keys, fmt.Errorf("key %q: %w", head(user), err)
		case n.Mod.Main > h.Revision:
			return keys, fmt.Errorf("%w: key %q has mod revision %d above the head %d", ErrCorrupt, head(user), n.Mod.Main, h.Revision)
		case n.Deleted:
			continue
		case n.Lease != 0:
			if _, err := s.db.Get(appendLeaseKey(nil, n.Lease, user), nil); err != nil {
				return keys, fmt.Errorf("%w: key %q of lease %x is not among the lease's keys: %w", ErrCorrupt, head(user), uint64(n.Lease), err)
			}
		}
		keys++
		chunk, block := h.counts.at(user)
		live[h.counts.chunks[chunk].starts[block]]++
	}
	for _, chunk := range h.counts.chunks {
		for i, start := range chunk.starts {
			if chunk.live[i] != live[start] {
				return keys, fmt.Errorf("%w: the count index has %d keys in the block from %q, table c has %d",
					ErrCorrupt, chunk.live[i], head([]byte(start)), live[start])
			}
		}
	}
	return keys, nil
}

// verifyLeaseKeys finds entries of table k whose record does not name the lease.
func (s *Store) verifyLeaseKeys() (err error) {
	it := s.db.NewIter([]byte{byte(storage.TableLeaseKeys)}, []byte{byte(storage.TableLeaseKeys) + 1})
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		key := it.Key()
		if len(key) < 9 {
			return fmt.Errorf("%w: lease key %x", ErrCorrupt, key)
		}
		id, user := kv.LeaseID(binary.BigEndian.Uint64(key[1:])), key[9:]
		b, err := s.db.Get(currentKey(nil, user), nil)
		if err != nil {
			return fmt.Errorf("%w: lease %x has key %q, which does not exist: %w", ErrCorrupt, uint64(id), head(user), err)
		}
		if n, err := decodeNode(b); err != nil || n.Deleted || n.Lease != id {
			return fmt.Errorf("%w: lease %x has key %q, whose record names lease %x", ErrCorrupt, uint64(id), head(user), uint64(n.Lease))
		}
	}
	return nil
}

// verifyHistory finds revisions without an event, and events that the newest record contradicts.
func (s *Store) verifyHistory() error {
	h := s.head.Load()
	next, sub := max(h.CompactRevision, FirstRevision+1), int64(0)
	var fault error
	_, err := s.History(next, h.Revision, func(e *kv.Event) bool {
		switch rev := e.Record.Mod; {
		case rev.Main == next && rev.Sub == sub:
			sub++
		case rev.Main == next+1 && rev.Sub == 0 && sub > 0:
			next, sub = rev.Main, 1
		default:
			fault = fmt.Errorf("%w: event %d/%d follows %d events of revision %d", ErrCorrupt, rev.Main, rev.Sub, sub, next)
			return false
		}
		return true
	})
	if err := errors.Join(err, fault); err != nil {
		return err
	}
	if h.Revision > FirstRevision && (next != h.Revision || sub == 0) {
		return fmt.Errorf("%w: history ends at revision %d, the head is %d", ErrCorrupt, next, h.Revision)
	}
	return nil
}
