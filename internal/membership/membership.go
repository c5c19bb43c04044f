// Package membership owns who the members of a cluster are: what identifies them, what is recorded of each, and the commands
// that change a record.
//
// The records are table m of the state store (docs/formats/members.md), so that they are replicated, backed up and
// restored with everything else. The package does not own the configuration that raft votes by (raft and the
// machine do), nor connections to members (peer). A cluster's first members are fixed by now: records change, members do not
// come and go yet.
//
// Invariants: an ID is a function of its arguments alone, the same as etcd's for the same arguments, so that a member
// which is replaced by ours keeps its name on every page and in every log. No two members share a peer URL. What List shows is
// the state after some committed batch.
//
// Concurrency: List and the functions may be called by anyone; Begin, Apply and Publish belong to the applier.
package membership

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"cairn/internal/storage"
)

// Member is what is recorded of one member. It is not changed once it can be seen by others.
type Member struct {
	ID         uint64
	Name       string   // empty until the member has started for the first time
	PeerURLs   []string // where other members reach it
	ClientURLs []string // where it says that clients reach it; none until it has started
	Learner    bool     // has the log, but no vote
}

// Started says whether the member has published itself: its name is known then, which cannot be empty.
func (m *Member) Started() bool { return m.Name != "" }

// ErrCorrupt is wrapped by the errors that tell of a record or command which no cairn of this version can have written.
var ErrCorrupt = errors.New("corrupt membership")

// Table is table m: the members of the cluster.
type Table struct {
	shown atomic.Pointer[[]Member] // in the order of their IDs

	// The members after the batch that is being made.
	next    []Member
	changed bool
}

// Initialize puts the founding members into the table of a new state.
func Initialize(b *storage.Batch, founders []Member) {
	for i := range founders {
		b.Set(key(founders[i].ID), founders[i].append(nil))
	}
}

// Open reads the table.
func Open(db *storage.Store) (t *Table, err error) {
	var members []Member
	it := db.NewIter([]byte{byte(storage.TableMembers)}, []byte{byte(storage.TableMembers) + 1})
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		m, err := decodeMember(it.Key(), it.Value())
		if err != nil {
			return nil, fmt.Errorf("read members: %w", err)
		}
		members = append(members, m)
	}
	t = &Table{}
	t.shown.Store(&members)
	return t, nil
}

// List returns the members in the order of their IDs. The caller must not change what it gets.
func (t *Table) List() []Member { return *t.shown.Load() }

// Find returns the member with an ID.
func Find(members []Member, id uint64) (m Member, ok bool) {
	i, ok := slices.BinarySearchFunc(members, id, func(m Member, id uint64) int { return cmp.Compare(m.ID, id) })
	if !ok {
		return Member{}, false
	}
	return members[i], true
}

// Begin starts a batch.
func (t *Table) Begin() { t.next, t.changed = t.List(), false }

// Publish shows what the batch has changed, once it is committed.
func (t *Table) Publish() {
	if t.changed {
		shown := t.next
		t.shown.Store(&shown)
	}
}

// set records a member that is there.
func (t *Table) set(b *storage.Batch, m Member) {
	next := slices.Clone(t.next) // others read the old one
	i := slices.IndexFunc(next, func(other Member) bool { return other.ID == m.ID })
	next[i] = m
	t.next, t.changed = next, true
	b.Set(key(m.ID), m.append(nil))
}

func key(id uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{byte(storage.TableMembers)}, id)
}
