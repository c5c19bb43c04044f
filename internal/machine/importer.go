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

// importGapMax is the maximum number of consecutive revisions without a change in an imported
// history.
const importGapMax = 1 << 20

// importBatchBytes is the size of a batch's events at which an import commits it: less than a
// member's, to bound the memory.
const importBatchBytes = 8 << 20

// Importer builds the initial state of a new cluster from the content of another store: its keys
// with their revisions and history, leases, users and roles.
//
//	im.Change(…) for each change, in the order of the revisions
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
	base    *mvcc.Base // until the first revision after the compaction
	m       *Machine   // from then on
	open    int64      // the revision whose changes are being replayed; 0 when there is none
}

// NewImporter returns an importer into the empty state store db. Index and term are the new
// cluster's initial position in the log. History before compactRevision cannot be read; it is 0 or
// 1 when nothing has been compacted.
func NewImporter(db *storage.Store, index, term uint64, members []membership.Member, compactRevision int64) (*Importer, error) {
	im := &Importer{db: db, founder: members, start: position{index: index, term: term, revision: mvcc.FirstRevision}}
	if compactRevision > mvcc.FirstRevision {
		im.start.revision, im.start.compact = compactRevision, compactRevision
		im.base = mvcc.NewBase(db)
		return im, nil
	}
	return im, im.beginReplay()
}

// Change imports a change of a key: r is the new record of the key, with its revision.
func (im *Importer) Change(key []byte, r kv.Record) error {
	if im.base != nil && r.Mod.Main <= im.start.compact {
		if r.Deleted {
			return im.base.Delete(key)
		}
		return im.base.Set(key, &r)
	}
	if im.base != nil {
		if err := im.endBase(); err != nil {
			return err
		}
	}
	if r.Mod.Main != im.open {
		if err := im.next(r.Mod.Main); err != nil {
			return err
		}
	}
	return im.m.w.Replay(key, r)
}

// endBase opens the store that the changes up to the compaction have made.
func (im *Importer) endBase() error {
	base := im.base
	im.base = nil
	if err := base.Finish(im.start.compact); err != nil {
		return err
	}
	return im.beginReplay()
}

func (im *Importer) beginReplay() (err error) {
	b := im.db.NewBatch()
	membership.Initialize(b, im.founder)
	b.Set(positionKey, im.start.append(nil))
	if err := errors.Join(b.Commit(false), b.Close()); err != nil {
		return fmt.Errorf("initialize imported state: %w", err)
	}
	if im.m, err = Open(im.db); err != nil {
		return err
	}
	im.m.next = im.m.pos
	return im.m.begin()
}

// next ends the open revision and opens the next one.
func (im *Importer) next(revision int64) error {
	if err := im.end(); err != nil {
		return err
	}
	m := im.m
	at := m.w.Revision()
	if revision <= at || revision-at > importGapMax {
		return fmt.Errorf("%w: revision %d follows %d", mvcc.ErrHistory, revision, at)
	}
	for ; at+1 < revision; at++ {
		m.w.Start()
		m.w.Advance()
		if err := m.w.End(); err != nil {
			return err
		}
	}
	if m.w.Bytes() >= importBatchBytes {
		if err := m.commit(); err != nil {
			return err
		}
		if err := m.begin(); err != nil {
			return err
		}
	}
	m.w.Start()
	im.open = revision
	return nil
}

// end ends the open revision and keeps its changes.
func (im *Importer) end() error {
	if im.open == 0 {
		return nil
	}
	im.open = 0
	return im.m.w.End()
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
func (im *Importer) BeginCommands() (err error) {
	if err := im.ready(); err != nil {
		return err
	}
	if err := errors.Join(im.m.commit(), im.m.Close()); err != nil {
		return err
	}
	if im.m, err = Open(im.db); err != nil {
		return err
	}
	im.m.next = im.m.pos
	return im.m.begin()
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

func (im *Importer) ready() error {
	if im.base != nil {
		return im.endBase()
	}
	return im.end()
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
