package machine

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"cairn/internal/membership"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
)

// HistoryImport describes a history that becomes the initial state of a new cluster.
type HistoryImport struct {
	From mvcc.History
	// CompactRevision is the revision before which the history cannot be read; 0 or 1 when nothing
	// has been compacted.
	CompactRevision int64
	Index, Term     uint64 // the new cluster's initial position in the log
	Members         []membership.Member
	// Dir is a directory of FS for temporary files, which must not be used for anything else, and
	// be on the store's file system. It is removed.
	FS  storage.FS
	Dir string
}

// ImportHistory fills the empty state store db with keys and their history, by sorted tables that
// need neither memtables nor compactions, and returns the importer of what else belongs to the
// state.
func ImportHistory(db *storage.Store, h HistoryImport) (im *Importer, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, h.FS.RemoveAll(h.Dir))
		}
	}()
	b := mvcc.NewBuilder(h.FS, h.FS.PathJoin(h.Dir, "sorted"), h.From, h.CompactRevision)
	tables, err := db.NewTables(h.FS.PathJoin(h.Dir, "tables"))
	if err == nil {
		tables.WriteInBackground()
		if err = buildTables(tables, b, &h); err != nil {
			err = errors.Join(err, tables.Discard())
		}
	}
	if err = errors.Join(err, b.Close()); err != nil {
		return nil, err
	}
	if err := db.Replace(tables); err != nil {
		return nil, err
	}
	if err := h.FS.RemoveAll(h.Dir); err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	im = &Importer{db: db}
	return im, im.open()
}

func buildTables(tables *storage.Tables, b *mvcc.Builder, h *HistoryImport) error {
	revision, err := b.Read()
	if err != nil {
		return err
	}
	pos := position{index: h.Index, term: h.Term, revision: revision}
	if h.CompactRevision > mvcc.FirstRevision {
		pos.compact = h.CompactRevision
	}
	fresh := membership.Pairs(h.Members)
	fresh[string(positionKey)] = pos.append(nil)
	if b.Mixed() {
		fresh[string(mvcc.MixedKey())] = nil
	}
	w := newMergingWriter(tables, fresh)
	for _, write := range []func(add func(key, value []byte) error) error{
		b.WriteKeys, b.WriteCounts, b.WriteHistory, b.WriteTombstones,
	} {
		if err := write(w.add); err != nil {
			return err
		}
	}
	return w.finish()
}

// mergingWriter adds records to tables, and others between them, in the order of the keys.
type mergingWriter struct {
	tables *storage.Tables
	fresh  map[string][]byte
	keys   []string // of fresh that were not added yet, in order
}

func newMergingWriter(tables *storage.Tables, fresh map[string][]byte) *mergingWriter {
	return &mergingWriter{tables: tables, fresh: fresh, keys: slices.Sorted(maps.Keys(fresh))}
}

// add adds a record, which must not be one of the others.
func (w *mergingWriter) add(key, value []byte) error {
	for len(w.keys) > 0 && w.keys[0] < string(key) {
		if err := w.next(); err != nil {
			return err
		}
	}
	return w.tables.Add(key, value)
}

func (w *mergingWriter) next() error {
	key := w.keys[0]
	w.keys = w.keys[1:]
	return w.tables.Add([]byte(key), w.fresh[key])
}

// finish adds the remaining ones and completes the tables.
func (w *mergingWriter) finish() error {
	for len(w.keys) > 0 {
		if err := w.next(); err != nil {
			return err
		}
	}
	return w.tables.Finish()
}
