package replica

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"sync"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/snapshot"
	"cairn/internal/storage"
)

// How a follower that is too far behind for the log receives a state (docs/adr/0007):
//
//  1. The leader's Work has a MsgSnap in Send, without data. The caller sends it to the peer with
//     the stream that OpenSnapshot returns, which is as of the same entry or a later one, and
//     reports the result by ReportSnapshot.
//  2. The follower's caller passes message and stream to ReceiveSnapshot, which checks every byte
//     and builds separate tables, while the replica continues. It returns the message to Step:
//     the received one, with the index of the stream's state.
//  3. Raft accepts the message, or no longer needs it. If it accepts it, Work has an append with
//     the snapshot, which the caller passes to Install.

// ErrBusy is returned when another snapshot is being received, or waits to be installed.
var ErrBusy = errors.New("another snapshot is being received")

// receivedMax is the maximum number of snapshots that wait to be installed: raft may need a second
// one while the first is in progress.
const receivedMax = 2

// snapshots has the outgoing and incoming snapshots. Each mutex guards the fields below it.
type snapshots struct {
	receiving sync.Mutex // held while one is being received

	mu       sync.Mutex
	number   int
	received []received
	outgoing map[*Outgoing]struct{}
}

// received is a snapshot that was received and verified.
type received struct {
	meta   snapshot.Meta
	tables *storage.Tables
	// refused reports that raft did not accept it: it came from a former leader, or does not
	// contain this member yet.
	refused bool
}

// Outgoing is the stream of a state that is being sent. While it is open, the log keeps the entries
// after it, so that the follower can continue from there. Close it when the follower has the state.
type Outgoing struct {
	*snapshot.Source
	r *Replica
}

// OpenSnapshot returns the stream of the current state. Any goroutine may call it.
func (r *Replica) OpenSnapshot() (*Outgoing, error) {
	source, err := r.machine.Snapshot(r.clusterID)
	if err != nil {
		return nil, err
	}
	o := &Outgoing{Source: source, r: r}
	s := &r.snapshots
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outgoing[o] = struct{}{}
	return o, nil
}

// Close releases the state and the log's entries.
func (o *Outgoing) Close() error {
	s := &o.r.snapshots
	s.mu.Lock()
	delete(s.outgoing, o)
	s.mu.Unlock()
	return o.Source.Close()
}

// needed returns the highest index, at most the given one, up to which no outgoing snapshot needs
// the log's entries.
func (s *snapshots) needed(index uint64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	for o := range s.outgoing {
		index = min(index, o.Meta().Index)
	}
	return index
}

// ReceiveSnapshot reads the stream of the MsgSnap m to its end, and returns the message to Step.
// Any goroutine may call it; it takes as long as the stream does. After an error, which is
// immediate in the case of ErrBusy, the received part is discarded, and the leader sends the
// snapshot again.
func (r *Replica) ReceiveSnapshot(m *raftpb.Message, stream io.Reader) (*raftpb.Message, error) {
	s := &r.snapshots
	if !s.receiving.TryLock() {
		return nil, ErrBusy
	}
	defer s.receiving.Unlock()
	dir, err := r.receiveDir()
	if err != nil {
		return nil, err
	}
	tables, err := r.machine.NewTables(dir)
	if err != nil {
		return nil, fmt.Errorf("receive snapshot: %w", err)
	}
	meta, err := r.receive(tables, stream)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("receive snapshot: %w", err), tables.Discard())
	}
	out := &raftpb.Message{
		Type: m.Type, To: m.To, From: m.From, Term: m.Term,
		Snapshot: &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: &meta.Index, Term: &meta.Term, ConfState: meta.ConfState}},
	}
	if err := r.CheckMessage(out); err != nil {
		return nil, errors.Join(err, tables.Discard())
	}
	s.mu.Lock()
	s.received = append(s.received, received{meta: meta, tables: tables})
	s.mu.Unlock()
	return out, nil
}

// receiveDir drops the snapshots that will not be installed, and returns a directory for a new one.
func (r *Replica) receiveDir() (string, error) {
	s := &r.snapshots
	if err := s.drop(r.machine.AppliedIndex()); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.received) >= receivedMax {
		return "", ErrBusy
	}
	s.number++
	return filepath.Join(r.receivePath, strconv.Itoa(s.number)), nil
}

// refuse marks a received snapshot that raft did not accept. Otherwise it would remain until its
// index is applied, which without a snapshot may never happen.
func (s *snapshots) refuse(index, term uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.received {
		// Mark only one: another leader's snapshot of the same entry may not have reached raft yet.
		if in := &s.received[i]; !in.refused && in.meta.Index == index && in.meta.Term == term {
			in.refused = true
			return
		}
	}
}

// drop removes the received snapshots that were refused, or are not beyond the applied index.
func (s *snapshots) drop(applied uint64) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left := s.received[:0]
	for _, in := range s.received {
		if in.meta.Index > applied && !in.refused {
			left = append(left, in)
			continue
		}
		err = errors.Join(err, in.tables.Discard())
	}
	clear(s.received[len(left):])
	s.received = left
	return err
}

// receive builds tables from a stream.
func (r *Replica) receive(tables *storage.Tables, stream io.Reader) (snapshot.Meta, error) {
	in, err := snapshot.NewStream(stream)
	if err != nil {
		return snapshot.Meta{}, err
	}
	defer in.Close()
	meta := in.Meta()
	if meta.ClusterID != r.clusterID {
		return meta, fmt.Errorf("it is of cluster %x, this member is of %x", meta.ClusterID, r.clusterID)
	}
	for {
		key, value, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = tables.Add(key, value)
		}
		if err != nil {
			return meta, err
		}
	}
	if n, err := in.Rest().Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		return meta, fmt.Errorf("%w: data after its end: %w", snapshot.ErrCorrupt, err)
	}
	return meta, tables.Finish()
}

// Install executes an append that carries a snapshot: it installs the state that ReceiveSnapshot
// has read, restarts the log behind it, and appends the message's entries. It returns the responses
// that are now due. The caller must have both roles, the log writer's and the applier's. Afterwards
// the machine's revision and applied index are higher, without events.
func (r *Replica) Install(m *raftpb.Message) (responses []*raftpb.Message, err error) {
	index, term := m.GetSnapshot().GetMetadata().GetIndex(), m.GetSnapshot().GetMetadata().GetTerm()
	in, ok := r.snapshots.take(index, term)
	if !ok {
		return nil, fmt.Errorf("install snapshot at entry %d of term %d: it was not received", index, term)
	}
	if err := r.log.BeginInstall(index, term); err != nil {
		return nil, err
	}
	if err := r.machine.Install(in.tables, in.meta); err != nil {
		return nil, err
	}
	var hard *raftpb.HardState
	if m.Term != nil && m.Vote != nil && m.Commit != nil {
		hard = &raftpb.HardState{Term: m.Term, Vote: m.Vote, Commit: m.Commit}
	}
	if err := r.log.Install(index, term, hard); err != nil {
		return nil, err
	}
	if len(m.Entries) > 0 {
		rest := &raftpb.Message{Type: m.Type, Entries: m.Entries, Responses: m.Responses}
		if err := r.log.Append([]*raftpb.Message{rest}); err != nil {
			return nil, err
		}
	}
	return m.Responses, r.snapshots.drop(index)
}

// take removes and returns a received snapshot.
func (s *snapshots) take(index, term uint64) (received, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, in := range s.received {
		if in.meta.Index == index && in.meta.Term == term {
			s.received = append(s.received[:i], s.received[i+1:]...)
			return in, true
		}
	}
	return received{}, false
}
