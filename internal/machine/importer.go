package machine

import (
	"errors"
	"fmt"

	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/membership"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
)

// importBatchBytes is the size of a batch's events at which an import commits it: less than a
// member's, to bound the memory.
const importBatchBytes = 8 << 20

// Importer builds the initial state of a new cluster from the content of another store: its keys
// with their revisions and history, leases, users and roles.
//
//	im, err := ImportHistory(…), or im, err := NewImporter(…) and im.Key(…) for each key
//	im.Lease(…), im.Auth(…)
//	im.BeginCommands(), im.Apply(…) for each later command
//	im.Finish()
//
// An Importer belongs to one goroutine. After an error the store must be discarded. Close releases
// the importer's memory in any case.
type Importer struct {
	db      *storage.Store
	start   position
	founder []membership.Member
	base    *mvcc.Base // until all keys are imported
	m       *Machine   // from then on
}

// NewImporter returns an importer of keys without history into the empty state store db. Index and
// term are the new cluster's initial position in the log. The history begins at compactRevision; 0
// or 1 means that there are no keys.
func NewImporter(db *storage.Store, index, term uint64, members []membership.Member, compactRevision int64) (*Importer, error) {
	im := &Importer{db: db, founder: members, start: position{index: index, term: term, revision: mvcc.FirstRevision}}
	if compactRevision > mvcc.FirstRevision {
		im.start.revision, im.start.compact = compactRevision, compactRevision
		im.base = mvcc.NewBase(db)
		return im, nil
	}
	return im, im.initialize()
}

// Key imports a key as of the revision at which the history begins.
func (im *Importer) Key(key []byte, r *kv.Record) error {
	if im.base == nil || r.Mod.Main > im.start.compact {
		return fmt.Errorf("%w: key %q was changed at revision %d, the history begins at %d", mvcc.ErrHistory, key, r.Mod.Main, im.start.compact)
	}
	return im.base.Set(key, r)
}

// initialize writes the members and the position, and opens the state.
func (im *Importer) initialize() error {
	b := im.db.NewBatch()
	membership.Initialize(b, im.founder)
	b.Set(positionKey, im.start.append(nil))
	if err := errors.Join(b.Commit(false), b.Close()); err != nil {
		return fmt.Errorf("initialize imported state: %w", err)
	}
	return im.open()
}

// open opens the state with a batch.
func (im *Importer) open() (err error) {
	if im.m, err = Open(im.db); err != nil {
		return err
	}
	im.m.next = im.m.pos
	return im.m.begin()
}

// Lease imports a lease: its granted TTL and the remaining TTL, in seconds. It must follow all
// changes.
func (im *Importer) Lease(id kv.LeaseID, ttl, left int64) error {
	if err := im.ready(); err != nil {
		return err
	}
	return lease.Restore(im.m.b, id, ttl, left)
}

// Auth imports users and roles. It must follow all changes.
func (im *Importer) Auth(r *auth.Restoration) error {
	if err := im.ready(); err != nil {
		return err
	}
	auth.Restore(im.m.b, r)
	return nil
}

// BeginCommands commits what was imported, and opens it as a state that commands are applied to.
func (im *Importer) BeginCommands() error {
	if err := im.ready(); err != nil {
		return err
	}
	if err := errors.Join(im.m.commit(), im.m.Close()); err != nil {
		return err
	}
	return im.open()
}

// Apply applies a command from the other store's log, behind its state. The result has the error of
// a refused command; an error that is returned ends the import. It must follow BeginCommands.
func (im *Importer) Apply(kind Kind, payload []byte) (res Result, err error) {
	if im.m.w.Bytes() >= importBatchBytes {
		if err := errors.Join(im.m.commit(), im.m.begin()); err != nil {
			return res, err
		}
	}
	err = im.m.applyCommand(kind, payload, im.m.next.time, nil, &res)
	res.Revision = im.m.w.Revision()
	return res, err
}

// CheckpointLease sets the rest of a lease's TTL, in seconds; 0 means all of it. BeginCommands
// must have been called.
func (im *Importer) CheckpointLease(id kv.LeaseID, left int64) error {
	im.m.w.Start()
	if err := lease.Checkpoint(im.m.w, im.m.next.time, id, left); err != nil {
		return err
	}
	return im.m.w.End()
}

// AuthState returns users and roles as of the last applied command. It must follow BeginCommands.
func (im *Importer) AuthState() *auth.State { return im.m.auth.Next() }

// ready ends the import of keys.
func (im *Importer) ready() error {
	if im.base == nil {
		return nil
	}
	base := im.base
	im.base = nil
	if err := base.Finish(im.start.compact); err != nil {
		return err
	}
	return im.initialize()
}

// Finish makes the state durable, and returns its revision.
func (im *Importer) Finish() (revision int64, err error) {
	if err := im.ready(); err != nil {
		return 0, err
	}
	if err := im.m.commit(); err != nil {
		return 0, err
	}
	return im.m.pos.revision, im.m.Flush()
}

// Close releases the importer's memory; the store stays open.
func (im *Importer) Close() error {
	if im.m == nil {
		return nil
	}
	return im.m.Close()
}
