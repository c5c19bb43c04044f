package machine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"cairn/internal/alarm"
	"cairn/internal/membership"
	"cairn/internal/mvcc"
	"cairn/internal/snapshot"
	"cairn/internal/storage"
)

// Restoration says what becomes of a state that is to begin another cluster.
type Restoration struct {
	Index, Term uint64              // of the entry that stands for the new cluster's beginning
	Members     []membership.Member // in the place of those that the state had
	// BumpRevision is by how much the revision is moved on, so that it is beyond all that clients
	// of the old cluster may have seen; MarkCompacted makes all before it unreadable, so that their
	// watches and caches start again.
	BumpRevision  int64
	MarkCompacted bool
}

// Restore reads a stream to its end, and builds the tables of the state with which a new cluster
// begins: the keys with their history, the leases, users and roles are those of the stream;
// members, alarms and position are not.
func Restore(tables *storage.Tables, in *snapshot.Stream, r Restoration) error {
	if r.BumpRevision < 0 || r.BumpRevision > 0 && !r.MarkCompacted {
		return fmt.Errorf("restore: bump the revision by %d: only forward, and with all before it compacted", r.BumpRevision)
	}
	meta := in.Meta()
	pos := position{
		index: r.Index, term: r.Term, revision: meta.Revision + r.BumpRevision, compact: meta.CompactRevision, time: meta.Time,
	}
	fresh := membership.Pairs(r.Members)
	var history []byte // below it table r is left out
	if r.BumpRevision > 0 {
		key, value := mvcc.AdvanceEvent(pos.revision)
		fresh[string(key)] = value
	}
	if r.MarkCompacted {
		pos.compact = pos.revision
		history, _ = mvcc.AdvanceEvent(pos.revision)
	}
	fresh[string(positionKey)] = pos.append(nil)
	keys := slices.Sorted(maps.Keys(fresh))
	for {
		key, value, err := in.Next()
		end := errors.Is(err, io.EOF)
		if err != nil && !end {
			return err
		}
		for len(keys) > 0 && (end || keys[0] <= string(key)) {
			if err := tables.Add([]byte(keys[0]), fresh[keys[0]]); err != nil {
				return err
			}
			keys = keys[1:]
		}
		if end {
			return tables.Finish()
		}
		if _, replaced := fresh[string(key)]; replaced || leftBehind(key) || superseded(key, history) {
			continue
		}
		if err := tables.Add(key, value); err != nil {
			return err
		}
	}
}

// leftBehind reports whether a key is of the old cluster and not of its data.
func leftBehind(key []byte) bool {
	return key[0] == byte(storage.TableMembers) || bytes.HasPrefix(key, alarm.Prefix())
}

// superseded reports whether a key is an event before the one at history.
func superseded(key, history []byte) bool {
	return history != nil && key[0] == byte(storage.TableRevisions) && bytes.Compare(key, history) < 0
}

// BeginAlone makes the member with an ID the only one of its cluster, whatever the others say. The
// log must have been applied to its end, and nothing else may use the machine. It is durable on
// return. Where the member has no record it gets one with the given peer URLs.
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
		return fmt.Errorf("make member %x the only one: %w", id, err)
	}
	return nil
}
