// Package membership owns the list of the cluster's members: their IDs, their records, and the
// commands that change a record.
//
// The records are table m of the state store (docs/formats/members.md), so that they are
// replicated, backed up and restored with everything else. The package does not own raft's
// configuration (raft and the machine derive it from the records), nor the connections to members
// (peer).
//
// Invariants: an ID depends only on its arguments and equals etcd's for the same arguments, so that
// a member that replaces an etcd member keeps its ID in pages and logs. No two members share a peer
// URL. The ID of a removed member is never reused. In builds with the tag invariants Table.check
// checks both. List returns the state after some committed
// batch.
//
// Concurrency: List and the functions may be called from any goroutine; Begin, Apply and Publish
// belong to the applier.
package membership

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/invariant"
	"cairn/internal/storage"
)

// Member is the record of one member. It is immutable once it is published.
type Member struct {
	ID       uint64
	Name     string   // empty until the member has started for the first time
	PeerURLs []string // the URLs for other members
	// the URLs for clients, as the member published them; none until it has started
	ClientURLs []string
	Learner    bool // receives the log, but does not vote
	// of etcd's API that the member served when it last started, such as 3.7.0; empty until it has
	// started
	Version string
}

// Started reports whether the member has published itself. A published member has a non-empty name.
func (m *Member) Started() bool { return m.Name != "" }

// ErrCorrupt is wrapped by the errors about a record or command that no cairn of this version can
// have written.
var ErrCorrupt = errors.New("corrupt membership")

// Table is table m: the members of the cluster.
type Table struct {
	shown   atomic.Pointer[[]Member]        // sorted by ID
	removed atomic.Pointer[map[uint64]bool] // the IDs of removed members

	// The members as of the open batch.
	next        []Member
	removedNext map[uint64]bool
	changed     bool
}

// Initialize writes the initial members into the table of a new state.
func Initialize(b *storage.Batch, founders []Member) {
	for i := range founders {
		b.Set(key(founders[i].ID), founders[i].append(nil))
	}
}

// Open reads the table.
func Open(db *storage.Store) (t *Table, err error) { return read(db.NewIter) }

// Read reads the table of a view of the store.
func Read(view *storage.View) (t *Table, err error) { return read(view.Iter) }

func read(iter func(lower, upper []byte) *storage.Iter) (t *Table, err error) {
	var members []Member
	removed := map[uint64]bool{}
	it := iter([]byte{byte(storage.TableMembers)}, []byte{byte(storage.TableMembers) + 1})
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		m, err := decodeMember(it.Key(), it.Value())
		if err != nil {
			return nil, fmt.Errorf("read members: %w", err)
		}
		if m.removed {
			removed[m.ID] = true
			continue
		}
		members = append(members, m.Member)
	}
	t = &Table{}
	t.shown.Store(&members)
	t.removed.Store(&removed)
	return t, nil
}

// List returns the members, sorted by ID. The caller must not modify them.
func (t *Table) List() []Member { return *t.shown.Load() }

// Removed reports whether the member with the ID was removed from the cluster.
func (t *Table) Removed(id uint64) bool { return (*t.removed.Load())[id] }

// ConfState returns raft's configuration for these members.
func (t *Table) ConfState() *raftpb.ConfState {
	cs := &raftpb.ConfState{}
	for _, m := range t.List() {
		if m.Learner {
			cs.Learners = append(cs.Learners, m.ID)
		} else {
			cs.Voters = append(cs.Voters, m.ID)
		}
	}
	return cs
}

// Find returns the member with the ID.
func Find(members []Member, id uint64) (m Member, ok bool) {
	i, ok := slices.BinarySearchFunc(members, id, byID)
	if !ok {
		return Member{}, false
	}
	return members[i], true
}

// Begin starts a batch.
func (t *Table) Begin() {
	t.next, t.removedNext, t.changed = t.List(), *t.removed.Load(), false
}

// Next returns the members as of the open batch. The caller must not modify them.
func (t *Table) Next() []Member { return t.next }

// Publish makes the changes of a committed batch visible to List.
func (t *Table) Publish() {
	if t.changed {
		if invariant.Enabled {
			t.check()
		}
		shown, removed := t.next, t.removedNext
		t.shown.Store(&shown)
		t.removed.Store(&removed)
	}
}

// check checks what the package comment says of the members.
func (t *Table) check() {
	urls := map[string]uint64{}
	for i, m := range t.next {
		invariant.Check(i == 0 || t.next[i-1].ID < m.ID, "member %x is not in the order of IDs", m.ID)
		invariant.Check(!t.removedNext[m.ID], "removed member %x is back", m.ID)
		for _, url := range m.PeerURLs {
			invariant.Check(urls[url] == 0, "members %x and %x share the peer URL %s", urls[url], m.ID, url)
			urls[url] = m.ID
		}
	}
}

// set writes the record of a member, which may be new.
func (t *Table) set(b *storage.Batch, m Member) {
	next := slices.Clone(t.next) // readers may hold the old slice
	i, ok := slices.BinarySearchFunc(next, m.ID, byID)
	if ok {
		next[i] = m
	} else {
		next = slices.Insert(next, i, m)
	}
	t.next, t.changed = next, true
	b.Set(key(m.ID), m.append(nil))
}

// remove replaces a member's record by the mark that it was removed.
func (t *Table) remove(b *storage.Batch, id uint64) {
	t.next = slices.DeleteFunc(slices.Clone(t.next), func(m Member) bool { return m.ID == id })
	t.removedNext, t.changed = maps.Clone(t.removedNext), true
	t.removedNext[id] = true
	b.Set(key(id), appendRemoved(nil))
}

func byID(m Member, id uint64) int { return cmp.Compare(m.ID, id) }

func key(id uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{byte(storage.TableMembers)}, id)
}
