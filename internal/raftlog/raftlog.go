// Package raftlog keeps the raft log in the log store: a raft.Storage.
//
// It owns the entries, the hard state and the position up to which the log was truncated
// (docs/formats/raft-log.md). The membership that raft starts from belongs to the state machine and
// is passed to Open. Entries that are appended but not yet applied are also cached in memory, since
// raft reads each of them again to apply it and to send it. The terms and the sizes of entries are
// known without reading them.
//
// Invariants: entries are consecutive (Open and Append check it), and of terms that do not decrease
// (terms.learn checks it); truncated index < first index ≤ last index+1 (Open and Truncate check
// it); an append with sync is durable when Append returns (TestCrashAfterEverySync).
//
// Append and Truncate belong to the log writer's goroutine; the methods of raft.Storage may be
// called concurrently with them.
package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/codec"
	"cairn/internal/invariant"
	"cairn/internal/storage"
)

// ErrCorrupt is wrapped by the errors about bytes in the log that no cairn has written, and about
// gaps in it.
var ErrCorrupt = errors.New("corrupt raft log")

// Keys of the log store.
const (
	entryPrefix    = 'e' // 'e' index (8 bytes, big endian) → entry
	hardStateKey   = 'h'
	truncatedKey   = 't'
	installKey     = 'i'
	entryKeyLength = 9
)

// Log is the raft log of one member.
type Log struct {
	store     *storage.Store
	confState *raftpb.ConfState
	snapshots func() (*raftpb.SnapshotMetadata, error) // see OfferSnapshots
	buf       []byte

	mu        sync.Mutex
	hard      *raftpb.HardState // as last appended
	truncated position          // the entry before the first
	last      uint64            // index of the last entry; truncated.index when there is none
	// cache holds the entries from cacheFirst to last, without those that cacheBytesMax or Release
	// dropped from its front.
	cache         []*raftpb.Entry
	cacheBytes    int
	cacheBytesMax int
	terms         terms
	// sizes has the size of each entry, about: see estimateSizes.
	sizes []uint32
}

// cacheBytesMax is the size of the cache unless LimitCache is called.
const cacheBytesMax = 64 << 20

// LimitCache sets how many bytes of entries are kept in memory until they have been applied. It is
// called before the log is used.
func (l *Log) LimitCache(bytes int) { l.cacheBytesMax = bytes }

// position is an entry's index and term.
type position struct{ index, term uint64 }

// Initialize writes the log of a new member. The log begins after the position (index, term) of the
// initial state, which is the same on all initial members.
func Initialize(store *storage.Store, index, term uint64) error {
	l := &Log{store: store, cacheBytesMax: cacheBytesMax}
	b := store.NewBatch()
	defer b.Close() //nolint:errcheck // holds memory only
	hard := &raftpb.HardState{Term: &term, Commit: &index}
	if err := errors.Join(l.putHardState(b, hard), putTruncated(b, position{index, term})); err != nil {
		return err
	}
	if err := b.Commit(true); err != nil {
		return fmt.Errorf("initialize raft log: %w", err)
	}
	return nil
}

// Open reads the log in store. applied is the index that the state machine has durably applied and
// confState its membership. The commit index returned to raft is at least applied, even if the log
// did not record it before a crash.
func Open(store *storage.Store, applied uint64, confState *raftpb.ConfState) (*Log, error) {
	l := &Log{store: store, confState: confState, cacheBytesMax: cacheBytesMax}
	if err := l.loadMeta(); err != nil {
		return nil, err
	}
	if err := l.completeInstall(applied); err != nil {
		return nil, err
	}
	first, err := l.findEnds()
	switch {
	case err != nil:
		return nil, fmt.Errorf("open raft log: %w", err)
	case first != 0 && first != l.truncated.index+1:
		return nil, fmt.Errorf("%w: first entry %d, truncated at %d", ErrCorrupt, first, l.truncated.index)
	case applied > l.last:
		return nil, fmt.Errorf("%w: state has applied entry %d, log ends at %d", ErrCorrupt, applied, l.last)
	case applied < l.truncated.index:
		return nil, fmt.Errorf("%w: state has applied entry %d, log begins after %d", ErrCorrupt, applied, l.truncated.index)
	}
	if l.hard.GetCommit() < applied {
		l.hard.Commit = &applied
	}
	if err := l.estimateSizes(); err != nil {
		return nil, fmt.Errorf("open raft log: %w", err)
	}
	return l, nil
}

// findEnds finds the last entry and its term, and returns the index of the first; 0 when there is
// none.
func (l *Log) findEnds() (first uint64, err error) {
	l.last = l.truncated.index
	l.terms.truncate(l.truncated)
	it := l.store.NewIter([]byte{entryPrefix}, []byte{entryPrefix + 1})
	if it.First() {
		first = entryIndex(it.Key())
	}
	if it.Last() {
		l.last = entryIndex(it.Key())
		var last record
		if last, err = parseRecord(l.last, it.Value()); err == nil && l.last > l.truncated.index {
			err = l.terms.learn(l.last, last.term)
		}
	}
	return first, errors.Join(err, it.Close())
}

func (l *Log) loadMeta() error {
	b, err := l.store.Get([]byte{truncatedKey}, nil)
	if err != nil {
		return fmt.Errorf("open raft log: read truncation: %w", err)
	}
	v, err := uvarints(b, 2)
	if err != nil {
		return fmt.Errorf("read truncation: %w", err)
	}
	l.truncated = position{v[0], v[1]}
	if b, err = l.store.Get([]byte{hardStateKey}, nil); err != nil {
		return fmt.Errorf("open raft log: read hard state: %w", err)
	}
	if v, err = uvarints(b, 3); err != nil {
		return fmt.Errorf("read hard state: %w", err)
	}
	l.hard = &raftpb.HardState{Term: &v[0], Vote: &v[1], Commit: &v[2]}
	return nil
}

// Append writes the entries and hard states of one or several MsgStorageAppend, in order, with at
// most one fsync. An entry replaces the entries of the same and of later indexes.
func (l *Log) Append(msgs []*raftpb.Message) error {
	b := l.store.NewBatch()
	defer b.Close() //nolint:errcheck // holds memory only
	sync := false
	l.mu.Lock()
	truncated, last := l.truncated.index, l.last
	l.mu.Unlock()
	var hard *raftpb.HardState
	for _, m := range msgs {
		if !raft.IsEmptySnap(m.GetSnapshot()) {
			return fmt.Errorf("append raft log: the snapshot at entry %d was not installed", m.GetSnapshot().GetMetadata().GetIndex())
		}
		if m.Term != nil && m.Vote != nil && m.Commit != nil {
			hard = &raftpb.HardState{Term: m.Term, Vote: m.Vote, Commit: m.Commit}
		}
		sync = sync || len(m.GetResponses()) > 0
		if len(m.Entries) == 0 {
			continue
		}
		first := m.Entries[0].GetIndex()
		if first > last+1 || first <= truncated {
			return fmt.Errorf("%w: append of entry %d to a log from %d to %d", ErrCorrupt, first, truncated+1, last)
		}
		if first <= last {
			if err := b.DeleteRange(entryKey(first), entryKey(last+1)); err != nil {
				return fmt.Errorf("append raft log: %w", err)
			}
		}
		for i, e := range m.Entries {
			if e.GetIndex() != first+uint64(i) {
				invariant.Violated("append of entry %d after entry %d", e.GetIndex(), first+uint64(i)-1)
			}
			l.buf = appendEntry(l.buf[:0], e)
			if err := b.Append(entryKey(e.GetIndex()), l.buf); err != nil {
				return fmt.Errorf("append raft log: %w", err)
			}
		}
		last = m.Entries[len(m.Entries)-1].GetIndex()
	}
	if hard != nil {
		if err := l.putHardState(b, hard); err != nil {
			return err
		}
	}
	if err := b.Commit(sync); err != nil {
		return fmt.Errorf("append raft log: %w", err)
	}
	return l.remember(msgs, hard)
}

// remember updates the memory after a committed append.
func (l *Log) remember(msgs []*raftpb.Message, hard *raftpb.HardState) (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if hard != nil {
		l.hard = hard
	}
	for _, m := range msgs {
		if len(m.Entries) == 0 {
			continue
		}
		for n := len(l.cache); n > 0 && l.cache[n-1].GetIndex() >= m.Entries[0].GetIndex(); n-- {
			l.cacheBytes -= len(l.cache[n-1].Data)
			l.cache = l.cache[:n-1]
		}
		l.terms.cut(m.Entries[0].GetIndex())
		l.sizes = l.sizes[:m.Entries[0].GetIndex()-l.truncated.index-1]
		for _, e := range m.Entries {
			l.cache = append(l.cache, e)
			l.cacheBytes += len(e.Data)
			l.sizes = append(l.sizes, sizeOf(e))
			err = errors.Join(err, l.terms.learn(e.GetIndex(), e.GetTerm()))
		}
		l.last = m.Entries[len(m.Entries)-1].GetIndex()
	}
	for len(l.cache) > 1 && l.cacheBytes > l.cacheBytesMax {
		l.dropFirst()
	}
	return err
}

func (l *Log) dropFirst() {
	l.cacheBytes -= len(l.cache[0].Data)
	l.cache[0] = nil
	l.cache = l.cache[1:]
}

// Release drops entries up to index from the cache, once they have been applied and sent.
func (l *Log) Release(index uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.cache) > 0 && l.cache[0].GetIndex() <= index {
		l.dropFirst()
	}
}

// Truncate removes the entries up to index. They must be durably applied: after a crash the state
// store needs the entries after its durable applied index.
func (l *Log) Truncate(index uint64) error {
	l.mu.Lock()
	truncated, last := l.truncated, l.last
	l.mu.Unlock()
	if index <= truncated.index {
		return nil
	}
	if index > last {
		return fmt.Errorf("truncate raft log at %d: it ends at %d", index, last)
	}
	term, err := l.Term(index)
	if err != nil {
		return fmt.Errorf("truncate raft log at %d: %w", index, err)
	}
	b := l.store.NewBatch()
	defer b.Close() //nolint:errcheck // holds memory only
	at := position{index, term}
	if err := errors.Join(b.DeleteRange(entryKey(truncated.index+1), entryKey(index+1)), putTruncated(b, at)); err != nil {
		return fmt.Errorf("truncate raft log: %w", err)
	}
	// First here: a reader that misses a removed entry then finds that it was truncated.
	l.mu.Lock()
	l.sizes = l.sizes[index-truncated.index:]
	l.terms.truncate(at)
	l.truncated = at
	l.mu.Unlock()
	// No sync: after a crash the removed entries are back, together with the old truncation; they
	// do no harm.
	if err := b.Commit(false); err != nil {
		return fmt.Errorf("truncate raft log: %w", err)
	}
	l.Release(index)
	return nil
}

func (l *Log) putHardState(b *storage.Batch, h *raftpb.HardState) error {
	v := binary.AppendUvarint(nil, h.GetTerm())
	v = binary.AppendUvarint(v, h.GetVote())
	v = binary.AppendUvarint(v, h.GetCommit())
	if err := b.Append([]byte{hardStateKey}, v); err != nil {
		return fmt.Errorf("write hard state: %w", err)
	}
	return nil
}

func putTruncated(b *storage.Batch, at position) error {
	v := binary.AppendUvarint(binary.AppendUvarint(nil, at.index), at.term)
	if err := b.Append([]byte{truncatedKey}, v); err != nil {
		return fmt.Errorf("write truncation: %w", err)
	}
	return nil
}

func entryKey(index uint64) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, entryKeyLength), entryPrefix), index)
}

func entryIndex(key []byte) uint64 {
	if len(key) != entryKeyLength {
		return 0
	}
	return binary.BigEndian.Uint64(key[1:])
}

func appendEntry(dst []byte, e *raftpb.Entry) []byte {
	dst = append(dst, byte(e.GetType()))
	dst = binary.AppendUvarint(dst, e.GetTerm())
	return append(dst, e.Data...)
}

// record is an entry as it is stored. data refers to the stored bytes.
type record struct {
	kind raftpb.EntryType
	term uint64
	data []byte
}

func parseRecord(index uint64, b []byte) (record, error) {
	r := codec.NewReader(b)
	e := record{raftpb.EntryType(r.Byte()), r.Uvarint(), r.Rest()}
	if err := r.Err(); err != nil {
		return record{}, fmt.Errorf("%w: entry %d: %w", ErrCorrupt, index, err)
	}
	return e, nil
}

// entry returns the entry, which does not refer to the stored bytes.
func (r *record) entry(index uint64) *raftpb.Entry {
	e := &raftpb.Entry{Term: new(r.term), Index: &index, Type: r.kind.Enum()}
	if len(r.data) > 0 {
		e.Data = append([]byte(nil), r.data...)
	}
	return e
}

func uvarints(b []byte, count int) ([]uint64, error) {
	out := make([]uint64, count)
	r := codec.NewReader(b)
	for i := range out {
		out[i] = r.Uvarint()
	}
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("%w: %x: %w", ErrCorrupt, b, err)
	}
	return out, nil
}
