package machine

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/membership"
	"cairn/internal/snapshot"
	"cairn/internal/storage"
)

// SnapshotMetadata returns the newest position that a new snapshot is certain to include. It may be
// called concurrently with the applier.
func (m *Machine) SnapshotMetadata() (*raftpb.SnapshotMetadata, error) {
	m.shownMu.Lock()
	defer m.shownMu.Unlock()
	index, term := m.shown.index, m.shown.term
	return &raftpb.SnapshotMetadata{Index: &index, Term: &term, ConfState: m.shownConf}, nil
}

// Snapshot returns the stream of the whole current state. The caller must close it. It may be
// called concurrently with the applier, and does not block it.
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

// metaOf reads the metadata of a view from the view itself, so that header and data are consistent.
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

// NewTables begins to build the tables of a state to Install, in a separate directory.
func (m *Machine) NewTables(dir string) (*storage.Tables, error) { return m.db.NewTables(dir) }

// Install replaces the state by that of the tables, whose header is meta and which must be as of a
// later entry. Readers continue: they see either state, and never a revision that decreases. Only
// the applier calls it. Later calls of Apply skip entries up to the snapshot's, and return no
// results of their commands.
//
// After an error the machine must not be used.
func (m *Machine) Install(t *storage.Tables, meta snapshot.Meta) error {
	if meta.Index <= m.pos.index || meta.Revision < m.pos.revision {
		return fmt.Errorf("install snapshot: entry %d at revision %d over entry %d at revision %d",
			meta.Index, meta.Revision, m.pos.index, m.pos.revision)
	}
	m.deferred.Wait()
	r := m.keys.BeginReplace()
	defer r.Done()
	leasesReadable := m.changeLeases(nil, true)
	defer leasesReadable()
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

// reload reads the in-memory parts of the state again, except the keys.
func (m *Machine) reload(meta snapshot.Meta) (err error) {
	m.b.Reset()
	if err := m.loadPosition(); err != nil {
		return err
	}
	if m.pos.index != meta.Index || m.pos.term != meta.Term || m.pos.revision != meta.Revision {
		return fmt.Errorf("the state is as of entry %d of term %d, its header says %d of %d", m.pos.index, m.pos.term, meta.Index, meta.Term)
	}
	return errors.Join(m.members.Reload(m.db), m.auth.Reload(m.db), m.alarms.Reload(m.db), m.migration.Reload(m.db), m.w.Forget())
}
