package machine

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"cairn/internal/alarm"
	"cairn/internal/membership"
	"cairn/internal/migration"
	"cairn/internal/mvcc"
	"cairn/internal/snapshot"
	"cairn/internal/storage"
)

// Restoration describes how a state becomes the initial state of another cluster.
type Restoration struct {
	Index, Term uint64              // the new cluster's initial position in the log
	Members     []membership.Member // replace those of the state
	// BumpRevision is added to the revision, so that it exceeds every revision that clients of the
	// old cluster may have seen; MarkCompacted makes all earlier revisions unreadable, so that the
	// clients' watches and caches start again.
	BumpRevision  int64
	MarkCompacted bool
}

// errIncomplete refuses to restore a state without all of its keys.
var errIncomplete = errors.New("restore: the snapshot was taken while a migration was loading the keys, and has a part of them")

// Restore reads a stream to its end, and builds the tables of a new cluster's initial state: the
// keys with their history, the leases, users and roles are those of the stream; members, alarms and
// position are not.
func Restore(tables *storage.Tables, in *snapshot.Stream, r Restoration) error {
	if r.BumpRevision < 0 || r.BumpRevision > 0 && !r.MarkCompacted {
		return fmt.Errorf("restore: bump the revision by %d: it must not be negative, and needs MarkCompacted", r.BumpRevision)
	}
	meta := in.Meta()
	pos := position{
		index: r.Index, term: r.Term, revision: meta.Revision + r.BumpRevision, compact: meta.CompactRevision, time: meta.Time,
	}
	fresh := membership.Pairs(r.Members)
	var history []byte // events of table r below it are skipped
	if r.BumpRevision > 0 {
		key, value := mvcc.AdvanceEvent(pos.revision)
		fresh[string(key)] = value
	}
	if r.MarkCompacted {
		pos.compact = pos.revision
		history, _ = mvcc.AdvanceEvent(pos.revision)
	}
	fresh[string(positionKey)] = pos.append(nil)
	w := newMergingWriter(tables, fresh)
	for {
		key, value, err := in.Next()
		if errors.Is(err, io.EOF) {
			return w.finish()
		} else if err != nil {
			return err
		}
		if mvcc.IsLoadingKey(key) {
			return errIncomplete
		}
		if _, replaced := fresh[string(key)]; replaced || ofOldCluster(key) || superseded(key, history) {
			continue
		}
		if err := w.add(key, value); err != nil {
			return err
		}
	}
}

// ofOldCluster reports whether a key describes the old cluster and not its data.
func ofOldCluster(key []byte) bool {
	return key[0] == byte(storage.TableMembers) || bytes.HasPrefix(key, alarm.Prefix()) || bytes.HasPrefix(key, migration.Prefix())
}

// superseded reports whether a key is an event before the one at history.
func superseded(key, history []byte) bool {
	return history != nil && key[0] == byte(storage.TableRevisions) && bytes.Compare(key, history) < 0
}

// BeginAlone makes the member with the ID the only member of its cluster, without the consent of
// the others. The log must have been applied to its end, and no other goroutine may use the
// machine. The change is durable on return. A member without a record gets one with the given peer
// URLs.
func (m *Machine) BeginAlone(id uint64, peerURLs []string) error {
	m.next, m.changes = m.pos, nil
	if err := m.begin(); err != nil {
		return err
	}
	for _, other := range m.members.List() {
		if other.ID != id {
			m.forgetAlarms(other.ID)
		}
	}
	m.members.Alone(m.b, id, peerURLs)
	if err := m.commit(); err != nil {
		return err
	}
	if err := m.Flush(); err != nil {
		return fmt.Errorf("make member %x the only member: %w", id, err)
	}
	return nil
}
