package sim

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"

	"cairn/internal/kv"
	"cairn/internal/storage"
)

// hashed is the hash of a member's state.
type hashed struct {
	sum    uint64
	member string
}

// hashTables are the tables that are the same everywhere at the same applied index. The blocks of
// the count index, and the times at which tombstones are swept, depend on how entries are grouped
// into batches.
var hashTables = []storage.Table{
	storage.TableAuth, storage.TableDirectories, storage.TableLeaseKeys, storage.TableLeases, storage.TableMembers,
	storage.TableRevisions, storage.TableDeadlines,
}

// hash returns the hash of the member's state.
func (m *member) hash() (uint64, error) {
	h := fnv.New64a()
	add := func(parts ...[]byte) {
		var n [8]byte
		for _, p := range parts {
			binary.BigEndian.PutUint64(n[:], uint64(len(p)))
			h.Write(n[:]) //nolint:errcheck // never fails
			h.Write(p)    //nolint:errcheck // never fails
		}
	}
	keys := m.machine.Keys()
	head := keys.Head()
	add(fmt.Appendf(nil, "%d %d %d %d", head.Revision, head.CompactRevision, head.Keys(), m.machine.ClusterTime()))
	r := keys.Reading()
	err := r.Walk(nil, nil, func(key []byte, rec *kv.Record) ([]byte, bool) {
		add(key, rec.Value, fmt.Appendf(nil, "%d %v %d %d %d", rec.CreateRevision, rec.Mod, rec.Version, rec.Lease, rec.Deadline))
		return nil, true
	})
	for _, table := range hashTables {
		it := r.Cursor([]byte{byte(table)}, []byte{byte(table) + 1})
		for ok := it.First(); ok; ok = it.Next() {
			add(it.Key(), it.Value())
		}
		if cerr := it.Close(); err == nil {
			err = cerr
		}
	}
	return h.Sum64(), err
}

// hashEvery is the interval of applied indexes at which states are compared; a smaller one would
// make runs slower.
const hashEvery = 7

// compareHash compares the state with that of other members at the same applied index.
func (m *member) compareHash() {
	index := m.machine.AppliedIndex()
	if index < m.lastAppliedSeen {
		m.w.fail("%s: applied index went back from %d to %d", m.name, m.lastAppliedSeen, index)
	}
	m.lastAppliedSeen = index
	if index%hashEvery == 0 {
		m.compareHashNow(index)
	}
}

func (m *member) compareHashNow(index uint64) {
	sum, err := m.hash()
	if err != nil {
		m.w.fail("%s: hash: %v", m.name, err)
		return
	}
	first, ok := m.w.hashes[index]
	if !ok {
		m.w.hashes[index] = hashed{sum, m.name}
		return
	}
	if first.sum != sum {
		m.w.fail("hash: %s and %s differ at applied index %d, revision %d", first.member, m.name, index, m.machine.Keys().Head().Revision)
	}
}
