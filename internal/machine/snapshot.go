package machine

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/membership"
	"cairn/internal/snapshot"
	"cairn/internal/storage"
)

// SnapshotMetadata returns the newest position that a snapshot would be as of, or be beyond.
// It may be called beside the applier.
func (m *Machine) SnapshotMetadata() (*raftpb.SnapshotMetadata, error) {
	m.shownMu.Lock()
	defer m.shownMu.Unlock()
	index, term := m.shown.index, m.shown.term
	return &raftpb.SnapshotMetadata{Index: &index, Term: &term, ConfState: m.shownConf}, nil
}

// Snapshot returns the stream of the whole state as of now, which must be closed. It may be called
// beside the applier, and holds it up for nothing.
func (m *Machine) Snapshot(clusterID uint64) (*snapshot.Source, error) {
	view, err := m.db.NewView()
	if err != nil {
		return nil, fmt.Errorf("take snapshot: %w", err)
	}
	meta, err := metaOf(view)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("take snapshot: %w", err), view.Close())
	}
	meta.ClusterID = clusterID
	source, err := snapshot.NewSource(view, meta)
	if err != nil {
		return nil, errors.Join(err, view.Close())
	}
	return source, nil
}

// metaOf reads what a view says of itself, so that the header and the data are of one moment.
func metaOf(view *storage.View) (meta snapshot.Meta, err error) {
	v, err := view.Get(positionKey)
	if err != nil {
		return meta, fmt.Errorf("read position: %w", err)
	}
	pos, err := decodePosition(v)
	if err != nil {
		return meta, err
	}
	members, err := membership.Read(view)
	if err != nil {
		return meta, err
	}
	return snapshot.Meta{
		Index: pos.index, Term: pos.term, Revision: pos.revision, CompactRevision: pos.compact, Time: pos.time, ConfState: members.ConfState(),
	}, nil
}

// NewTables begins to build the tables of a state to Install, in a directory of their own.
func (m *Machine) NewTables(dir string) (*storage.Tables, error) { return m.db.NewTables(dir) }

// Install replaces the state by that of the tables, whose header is meta, and of which it must know
// an earlier entry. Readers go on: they see the one or the other, never a revision that goes back.
// It is the applier's; entries up to the snapshot's that are applied later are passed over. The
// results of commands in them are not given to those who wait.
//
// After an error the machine is of no use any more.
func (m *Machine) Install(t *storage.Tables, meta snapshot.Meta) error {
	if meta.Index <= m.pos.index || meta.Revision < m.pos.revision {
		return fmt.Errorf("install snapshot: entry %d at revision %d over entry %d at revision %d",
			meta.Index, meta.Revision, m.pos.index, m.pos.revision)
	}
	r := m.keys.BeginReplace()
	defer r.Done()
	if err := m.db.Replace(t); err != nil {
		return fmt.Errorf("install snapshot: %w", err)
	}
	if err := m.reload(meta); err != nil {
		return fmt.Errorf("install snapshot: %w", err)
	}
	if err := r.Publish(m.pos.revision, m.pos.compact); err != nil {
		return fmt.Errorf("install snapshot: %w", err)
	}
	m.installed = m.pos.index
	m.showApplied(true)
	return nil
}

// reload reads again what the machine holds in memory, but for the keys.
func (m *Machine) reload(meta snapshot.Meta) (err error) {
	m.b.Reset()
	if err := m.loadPosition(); err != nil {
		return err
	}
	if m.pos.index != meta.Index || m.pos.term != meta.Term || m.pos.revision != meta.Revision {
		return fmt.Errorf("the state is as of entry %d of term %d, its header says %d of %d", m.pos.index, m.pos.term, meta.Index, meta.Term)
	}
	return errors.Join(m.members.Reload(m.db), m.auth.Reload(m.db), m.alarms.Reload(m.db), m.w.Forget())
}
