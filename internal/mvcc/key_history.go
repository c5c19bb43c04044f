package mvcc

import (
	"errors"
	"fmt"

	"cairn/internal/kv"
	"cairn/internal/storage"
)

// KeyHistory calls visit with the versions of a key that history still has, the newest first, until
// it returns false: the version that each change made (a tombstone for a delete), with the v2
// action of the change if it is known. before, if not 0, leaves out the changes of that revision
// and of later ones. The record belongs to the caller.
//
// The last one may be older than the compact revision: it was the current one at that revision.
// Changes that were compacted are not distinguished from changes that never were.
//
// It reads O(log²) events to get to before, and one for each version.
func (s *Store) KeyHistory(key []byte, before int64, visit func(rec *kv.Record, action kv.Action) bool) error {
	head := s.stableHead()
	if head.Loading {
		return ErrLoading
	}
	if before <= 0 || before > head.Revision {
		before = head.Revision + 1
	}
	rec, err := s.newest(key)
	if err != nil || rec.Mod.IsZero() {
		return err
	}
	for rec.Mod.Main >= before {
		if rec, err = s.earlier(rec.Mod, before); err != nil || rec.Mod.IsZero() {
			return err
		}
	}
	for {
		e, err := s.event(rec.Mod)
		switch {
		case errors.Is(err, ErrOvertaken): // the change is compacted, but not its version
			if !rec.Deleted {
				visit(&rec, kv.ActionNone)
			}
			return nil
		case err != nil:
			return err
		case !visit(&rec, e.Action), e.Prev.Mod.IsZero(), e.PrevGone:
			return nil
		}
		rec = e.Prev
	}
}

// newest returns the newest record of a key, which may be a tombstone, or a zero record.
func (s *Store) newest(key []byte) (kv.Record, error) {
	b, err := s.db.Get(currentKey(nil, key), nil)
	if errors.Is(err, storage.ErrNotFound) {
		return kv.Record{}, nil
	}
	if err != nil {
		return kv.Record{}, fmt.Errorf("read key: %w", err)
	}
	return decodeRecord(b)
}

// earlier follows the chain of events from the one at a revision, which is not before the bound
// before, to the version that the oldest such event has replaced: see chain. The record is zero
// when there is none.
func (s *Store) earlier(at kv.Revision, before int64) (kv.Record, error) {
	for {
		e, err := s.event(at)
		switch {
		case errors.Is(err, ErrOvertaken):
			return kv.Record{}, nil
		case err != nil:
			return kv.Record{}, err
		case e.jump.Main >= before:
			at = e.jump
		case e.Prev.Mod.Main >= before:
			at = e.Prev.Mod
		case e.PrevGone:
			return kv.Record{}, nil
		default:
			return e.Prev, nil
		}
	}
}
