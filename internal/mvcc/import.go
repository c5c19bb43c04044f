package mvcc

import (
	"encoding/binary"
	"errors"
	"fmt"

	"cairn/internal/kv"
	"cairn/internal/storage"
)

// ErrHistory is wrapped by the refusals of changes of another store that contradict each other.
var ErrHistory = kv.NewRefusal("history is inconsistent")

// importBatchBytes is the size at which a batch of an import is committed.
const importBatchBytes = 4 << 20

// Base writes the initial keys of a store whose history begins at a compaction that another store
// made. The store must hold no keys.
//
//	for each key { base.Set(…) }
//	base.Finish(compactRevision)
//
// Base belongs to one goroutine. After an error the store must be discarded.
type Base struct {
	db    *storage.Store
	b     *storage.Batch
	mixed bool
}

// NewBase returns a writer for the initial keys of db.
func NewBase(db *storage.Store) *Base { return &Base{db: db, b: db.NewBatch()} }

// Set makes r the record of a key.
func (f *Base) Set(key []byte, r *kv.Record) error {
	f.mixed = f.mixed || len(key) > 0 && key[0] == '/'
	return f.write(currentKey(nil, key), appendNode(nil, &node{Record: *r}))
}

func (f *Base) write(key, value []byte) error {
	if err := f.b.Append(key, value); err != nil {
		return fmt.Errorf("write imported keys: %w", err)
	}
	return f.commitLarge()
}

func (f *Base) commitLarge() error {
	if f.b.Bytes() < importBatchBytes {
		return nil
	}
	return f.commit()
}

func (f *Base) commit() error {
	if err := f.b.Commit(false); err != nil {
		return fmt.Errorf("write imported keys: %w", err)
	}
	f.b.Reset()
	return nil
}

// Finish writes the data derived from the keys: the count index, the keys of leases, and the event
// that history begins with. It scans all keys once.
func (f *Base) Finish(compactRevision int64) (err error) {
	defer func() { err = errors.Join(err, f.b.Close()) }()
	if err := f.commit(); err != nil {
		return err
	}
	if f.mixed {
		if err := f.write(mixedKey, nil); err != nil {
			return err
		}
	}
	if err := f.write(AdvanceEvent(compactRevision)); err != nil {
		return err
	}
	if err := f.index(); err != nil {
		return err
	}
	return f.commit()
}

// index writes tables n and k from table c.
func (f *Base) index() (err error) {
	it := f.db.NewIter(currentBounds(kv.KeyRange{Key: []byte{}, End: []byte{0}}))
	defer func() { err = errors.Join(err, it.Close()) }()
	block, live := []byte{byte(storage.TableCounts)}, uint64(0)
	for ok := it.First(); ok; ok = it.Next() {
		user := it.Key()[1:]
		n, err := decodeNode(it.Value())
		if err != nil {
			return fmt.Errorf("key %q: %w", head(user), err)
		}
		if n.Lease != 0 {
			if err := f.write(appendLeaseKey(nil, n.Lease, user), nil); err != nil {
				return err
			}
		}
		if live == blockTargetKeys {
			if err := f.write(block, binary.AppendUvarint(nil, live)); err != nil {
				return err
			}
			block, live = append([]byte{byte(storage.TableCounts)}, user...), 0
		}
		live++
	}
	return f.write(block, binary.AppendUvarint(nil, live))
}

// Replay records, in the open command, a change that another store made: r with its revision, its
// create revision and its version, or a tombstone. The lease need not exist. It returns an error
// that wraps ErrHistory when the change contradicts the store.
func (w *Writer) Replay(key []byte, r kv.Record) error {
	if want := w.nextRevision(); r.Mod != want {
		return fmt.Errorf("%w: revision %d/%d, want %d/%d", ErrHistory, r.Mod.Main, r.Mod.Sub, want.Main, want.Sub)
	}
	old, ok, err := w.newest(key)
	if err != nil {
		return err
	}
	if err := checkFollows(key, &r, &old.Record, ok); err != nil {
		return err
	}
	if r.Deleted {
		return w.record(kv.EventDelete, kv.ActionNone, key, r, &old)
	}
	w.noteMixed(&PutOp{Key: key})
	return w.record(kv.EventPut, kv.ActionNone, key, r, &old)
}
