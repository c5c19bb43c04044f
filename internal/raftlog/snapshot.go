package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/storage"
)

// OfferSnapshots says where Snapshot gets its answer: what the state machine could be
// streamed as now. It is called before raft is started.
func (l *Log) OfferSnapshots(now func() (*raftpb.SnapshotMetadata, error)) { l.snapshots = now }

// Snapshot implements raft.Storage. What it returns has no data: the state goes beside raft, as
// of an entry at or after the one named here (docs/adr/0004).
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

// BeginInstall notes, durably, that the state is about to be replaced by the one as
// of an entry. Install must follow once it has been, and nothing else in between.
//
// Two stores change, one after the other, and the power may go in between. Open finds the
// note, and sees from the state's applied index whether it was replaced already: then the log
// catches up; otherwise the note is void.
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

// Install restarts the log behind an entry, the last one of the installed state: all entries are
// dropped. hard is the hard state to keep from now on; nil is the
// present one, or what raft must know to have an entry of that term. It is durable on return.
func (l *Log) Install(index, term uint64, hard *raftpb.HardState) error {
	if hard == nil {
		l.mu.Lock()
		hard = hardStateAt(l.hard, index, term)
		l.mu.Unlock()
	}
	return l.reset(position{index, term}, hard)
}

// hardStateAt returns the hard state of a member that had old, and knows now that the
// entry at index is committed and of term. Who has an entry of a term has
// heard of the term; it has given no vote in it, or it would have old's term.
func hardStateAt(old *raftpb.HardState, index, term uint64) *raftpb.HardState {
	t, vote, commit := old.GetTerm(), old.GetVote(), max(old.GetCommit(), index)
	if t < term {
		t, vote = term, 0
	}
	return &raftpb.HardState{Term: &t, Vote: &vote, Commit: &commit}
}

// reset makes a log without entries that begins after a position.
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
	return nil
}

// settleInstall ends an installation that a crash has cut off; see BeginInstall.
func (l *Log) settleInstall(applied uint64) error {
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
