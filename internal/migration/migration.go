// Package migration stores the position of a migration from another cluster, and refuses writes
// until it is finished.
//
// A program (etcdctl migrate) reads the other cluster, the source, and sends its content as
// commands (command.go), in this order:
//
//	begin      the history of the source begins at a revision
//	load       the keys as of that revision, in parts
//	replay     each later revision with all its changes, under the same number
//	auth       users and roles, as a whole; at any time
//	leases     all leases; at any time
//	finish     the store is as of this revision, and accepts writes from now on
//
// It owns the record of table s and the bytes of the commands, both drawn in
// docs/formats/migration.md. It does not own the effects of a command on the keys (mvcc), on users
// and leases (auth, lease), nor the order of the two (machine).
//
// Invariants: the record is part of the replicated state, so that every member refuses the same
// commands, and so that a program that was interrupted can continue. A command that was already
// applied changes nothing.
//
// Concurrency: Present and the State that it returns may be used by any goroutine; Begin, Next, Set
// and Publish belong to the applier.
package migration

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"cairn/internal/codec"
	"cairn/internal/kv"
	"cairn/internal/storage"
)

// Phase is the phase of a migration. The values are stored; never renumber them.
type Phase byte

// The phases.
const (
	None      Phase = 0
	Loading   Phase = 1 // the keys as of the source's compaction are not complete
	Following Phase = 2 // the store equals the source at an earlier revision
	Finished  Phase = 3
)

// String returns the phase as programs display it.
func (p Phase) String() string {
	switch p {
	case None:
		return "none"
	case Loading:
		return "loading"
	case Following:
		return "following"
	case Finished:
		return "finished"
	default:
		return fmt.Sprintf("phase %d", byte(p))
	}
}

// The refusals.
var (
	// ErrMigrating refuses writes until the migration is finished.
	ErrMigrating = kv.NewRefusal("this cluster is taking over another one and refuses writes: wait for `etcdctl migrate finish`")
	// ErrNotNew refuses the begin of a migration to a cluster that has content.
	ErrNotNew = kv.NewRefusal("the cluster has keys, leases or users: a migration needs a new one")
	// ErrOtherSource refuses the begin of a second migration, from another cluster.
	ErrOtherSource = kv.NewRefusal("the cluster is migrating from another cluster")
	// ErrPhase refuses a command that is not allowed in the phase.
	ErrPhase = kv.NewRefusal("the migration is in another phase")
	// ErrRevision refuses a command for a revision other than the store's.
	ErrRevision = kv.NewRefusal("the store is at another revision")
)

// ErrCorrupt is wrapped by errors for bytes that no cairn of this version can have written.
var ErrCorrupt = errors.New("corrupt migration")

// State is the position of a migration. The zero value is that of a cluster without a migration.
type State struct {
	Phase     Phase
	Source    uint64 // the ID of the source cluster
	Endpoints string // of the source, for status; never used to connect
	// Base is the revision at which the history begins: the source's compaction, or 1.
	Base   int64
	Loaded kv.Revision // the last change of the base that is in the store
	// Seen is the newest revision of the source that was reported, and Heard the cluster time of
	// that report.
	Seen  int64
	Heard kv.ClusterTime
}

// MayChange returns ErrMigrating while the cluster refuses writes of clients.
func (s *State) MayChange() error {
	if s.Phase == Loading || s.Phase == Following {
		return ErrMigrating
	}
	return nil
}

func recordKey() []byte { return []byte{byte(storage.TableSystem), 'm'} }

// Prefix returns the prefix of the record's key.
func Prefix() []byte { return recordKey() }

func (s *State) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, byte(s.Phase)), s.Source)
	dst = codec.AppendText(dst, s.Endpoints)
	for _, v := range [...]int64{s.Base, s.Loaded.Main, s.Loaded.Sub, s.Seen, int64(s.Heard)} {
		dst = binary.AppendUvarint(dst, uint64(v))
	}
	return dst
}

func decodeState(b []byte) (*State, error) {
	r := codec.NewReader(b)
	s := &State{Phase: Phase(r.Byte()), Source: r.Uint64(), Endpoints: r.Text()}
	s.Base = int64(r.Uvarint())
	s.Loaded.Main, s.Loaded.Sub = int64(r.Uvarint()), int64(r.Uvarint())
	s.Seen, s.Heard = int64(r.Uvarint()), kv.ClusterTime(r.Uvarint())
	if s.Phase < Loading || s.Phase > Finished {
		r.Fail("phase %d", s.Phase)
	}
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("%w: record %x: %w", ErrCorrupt, b, err)
	}
	return s, nil
}

// Table is the record of one state store.
type Table struct {
	shown atomic.Pointer[State]
	next  *State // after the open batch
}

// Open reads the record.
func Open(db *storage.Store) (*Table, error) {
	t := &Table{}
	return t, t.Reload(db)
}

// Reload reads the record again, after the store was replaced.
func (t *Table) Reload(db *storage.Store) error {
	s := &State{}
	b, err := db.Get(recordKey(), nil)
	switch {
	case errors.Is(err, storage.ErrNotFound):
	case err != nil:
		return fmt.Errorf("read the migration: %w", err)
	default:
		if s, err = decodeState(b); err != nil {
			return err
		}
	}
	t.shown.Store(s)
	return nil
}

// Present returns the state as of the last committed batch. The caller must not change it.
func (t *Table) Present() *State { return t.shown.Load() }

// Begin starts a batch.
func (t *Table) Begin() { t.next = t.Present() }

// Next returns the state as of the open batch.
func (t *Table) Next() *State { return t.next }

// Set writes a state into the open batch.
func (t *Table) Set(b *storage.Batch, s State) {
	b.Set(recordKey(), s.append(nil))
	t.next = &s
}

// Publish makes the batch's changes visible, once it is committed.
func (t *Table) Publish() {
	if t.next != t.Present() {
		t.shown.Store(t.next)
	}
}
