package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/storage"
)

// OfferSnapshots sets the function that returns the metadata of the snapshot which the state
// machine could stream now; Snapshot calls it. Call OfferSnapshots before raft starts.
func (l *Log) OfferSnapshots(now func() (*raftpb.SnapshotMetadata, error)) { l.snapshots = now }

// Snapshot implements raft.Storage. The result has no data: the state is streamed outside of raft,
// as of an entry at or after the one named here (docs/adr/0007).
func (l *Log) Snapshot() (*raftpb.Snapshot, error) {
	if l.snapshots == nil {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	meta, err := l.snapshots()
	if err != nil {
		return nil, err
	}
	return &raftpb.Snapshot{Metadata: meta}, nil
}

// BeginInstall durably records that the state is about to be replaced by the one as of an entry.
// Install must follow when the state has been replaced, with no other call in between.
//
// Two stores change one after the other, and power may fail in between. Open finds the record and
// compares it with the state's applied index: if the state was replaced already, Open completes the
// installation in the log; otherwise it drops the record.
func (l *Log) BeginInstall(index, term uint64) error {
	b := l.store.NewBatch()
	defer b.Close() //nolint:errcheck // holds memory only
	v := binary.AppendUvarint(binary.AppendUvarint(nil, index), term)
	if err := b.Append([]byte{installKey}, v); err != nil {
		return fmt.Errorf("note installation in raft log: %w", err)
	}
	if err := b.Commit(true); err != nil {
		return fmt.Errorf("note installation in raft log: %w", err)
	}
	return nil
}

// Install restarts the log after an entry, the last one of the installed state: all entries are
// dropped. hard is the new hard state; nil keeps the current one, raised to the term of the entry.
// Install is durable on return.
func (l *Log) Install(index, term uint64, hard *raftpb.HardState) error {
	if hard == nil {
		l.mu.Lock()
		hard = hardStateAt(l.hard, index, term)
		l.mu.Unlock()
	}
	return l.reset(position{index, term}, hard)
}

// hardStateAt returns the hard state of a member that had old and learned that the entry at index,
// of term, is committed. A member that receives an entry of a higher term adopts the term; it has
// not voted in that term, or old would have the term.
func hardStateAt(old *raftpb.HardState, index, term uint64) *raftpb.HardState {
	t, vote, commit := old.GetTerm(), old.GetVote(), max(old.GetCommit(), index)
	if t < term {
		t, vote = term, 0
	}
	return &raftpb.HardState{Term: &t, Vote: &vote, Commit: &commit}
}

// reset empties the log: it begins after the given position.
func (l *Log) reset(at position, hard *raftpb.HardState) error {
	b := l.store.NewBatch()
	defer b.Close() //nolint:errcheck // holds memory only
	err := errors.Join(
		b.DeleteRange([]byte{entryPrefix}, []byte{entryPrefix + 1}), b.Remove([]byte{installKey}),
		putTruncated(b, at), l.putHardState(b, hard))
	if err != nil {
		return fmt.Errorf("begin raft log at entry %d: %w", at.index, err)
	}
	if err := b.Commit(true); err != nil {
		return fmt.Errorf("begin raft log at entry %d: %w", at.index, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.truncated, l.last, l.hard = at, at.index, hard
	clear(l.cache)
	l.cache, l.cacheBytes = nil, 0
	l.terms, l.sizes = terms{{at.index, at.index, at.term}}, nil
	return nil
}

// completeInstall completes or drops an installation that a crash interrupted; see BeginInstall.
func (l *Log) completeInstall(applied uint64) error {
	b, err := l.store.Get([]byte{installKey}, nil)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open raft log: read installation: %w", err)
	}
	v, err := uvarints(b, 2)
	if err != nil {
		return fmt.Errorf("read installation: %w", err)
	}
	at := position{v[0], v[1]}
	switch {
	case applied == at.index:
		return l.reset(at, hardStateAt(l.hard, at.index, at.term))
	case applied > at.index:
		return fmt.Errorf("%w: state has applied entry %d, beyond entry %d whose snapshot was being installed", ErrCorrupt, applied, at.index)
	}
	void := l.store.NewBatch()
	defer void.Close() //nolint:errcheck // holds memory only
	if err := void.Remove([]byte{installKey}); err != nil {
		return fmt.Errorf("open raft log: %w", err)
	}
	if err := void.Commit(true); err != nil {
		return fmt.Errorf("open raft log: %w", err)
	}
	return nil
}
