package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// tableBytes is the approximate size of a table that is built for Replace: that of the last level.
const tableBytes = 64 << 20

// Tables are sorted tables that are built in a separate directory, while the store is in use, and
// that will replace its whole content.
//
// One goroutine may use them at a time. The directory must not be used for anything else, and be on
// the store's file system. After a crash it is useless: RemoveTables.
type Tables struct {
	store *Store
	dir   string
	w     *sstable.Writer
	paths []string
	bytes uint64
	err   error
	// background writes the records of Add; nil when Add itself writes them.
	background *tablesWriter
}

// RemoveTables removes a directory of Tables, if it exists.
func RemoveTables(on FS, dir string) error {
	if on == nil {
		on = OSFS
	}
	if err := on.RemoveAll(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove tables %s: %w", dir, err)
	}
	return nil
}

// NewTables starts to build tables in the directory dir, whose content is removed first.
func (s *Store) NewTables(dir string) (*Tables, error) {
	if err := RemoveTables(s.options.FS, dir); err != nil {
		return nil, err
	}
	if err := s.options.FS.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("build tables: %w", err)
	}
	return &Tables{store: s, dir: dir}, nil
}

// Add writes the next key, which must be higher than the one before. Both slices are copied.
func (t *Tables) Add(key, value []byte) error {
	if t.err == nil && t.background != nil {
		t.err = t.background.add(key, value)
	} else if t.err == nil {
		t.err = t.add(key, value)
	}
	return t.err
}

func (t *Tables) add(key, value []byte) error {
	if t.w == nil {
		if err := t.begin(); err != nil {
			return fmt.Errorf("build tables: %w", err)
		}
	}
	if err := t.w.Set(key, value); err != nil {
		return fmt.Errorf("build tables: %w", err)
	}
	if t.w.Raw().EstimatedSize() >= tableBytes {
		return t.end()
	}
	return nil
}

func (t *Tables) begin() error {
	path := t.store.options.FS.PathJoin(t.dir, fmt.Sprintf("%06d.sst", len(t.paths)+1))
	file, err := t.store.options.FS.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	// The disk writes while the table is built. Otherwise the fsync at its end would write all of
	// it at once, and the fsync of a put's log entry would wait behind it.
	file = vfs.NewSyncingFile(file, vfs.SyncingFileOptions{BytesPerSync: t.store.options.BytesPerSync})
	t.paths = append(t.paths, path)
	options := t.store.options.MakeWriterOptions(lastLevel, t.store.db.TableFormat())
	if !t.store.options.DisableAutomaticCompactions {
		options.Compression = &sampledCompression
	}
	t.w = sstable.NewWriter(objstorageprovider.NewFileWritable(file), options)
	return nil
}

// sampledCompression compresses blocks like the store's own tables, but while that shortens blocks
// by less than an eighth, it compresses only a tenth of them, chosen at random. Stores whose writes
// must be the same in each run do not use it.
var sampledCompression = func() sstable.CompressionProfile {
	p := *sstable.SnappyCompression
	p.Name = "Sampled"
	p.OtherBlocks = block.NoCompression.OtherBlocks
	p.AdaptiveReductionCutoffPercent = 12
	return p
}()

// lastLevel is the level of tables that replace everything.
const lastLevel = 6

// end completes the open table, which is then on disk.
func (t *Tables) end() error {
	if t.w == nil {
		return nil
	}
	w := t.w
	t.w = nil
	if err := w.Close(); err != nil {
		return fmt.Errorf("build tables: %w", err)
	}
	if meta, err := w.Raw().Metadata(); err == nil {
		t.bytes += meta.Size
	}
	return nil
}

// Finish completes the tables. Nothing may be added after it.
func (t *Tables) Finish() error {
	t.stopBackground()
	if t.err == nil {
		t.err = t.end()
	}
	return t.err
}

// Bytes returns the size of the completed tables.
func (t *Tables) Bytes() uint64 { return t.bytes }

// Discard removes the tables.
func (t *Tables) Discard() error {
	t.stopBackground()
	if t.w != nil {
		t.w.Close() //nolint:errcheck // it is removed
		t.w = nil
	}
	if t.err == nil {
		t.err = errors.New("the tables were discarded")
	}
	return RemoveTables(t.store.options.FS, t.dir)
}

// Replace replaces the store's whole content by the finished tables, and removes their directory.
// It is one edit of the store's manifest, so that readers, and a reopened store after a crash at
// any point, find either the old content or that of the tables; the result is durable when Replace
// returns without an error. Open iterators and views keep their view.
//
// The store must not be written meanwhile. After an error its content is either of the two: it must
// be closed.
func (s *Store) Replace(t *Tables) (err error) {
	defer fatalError(&err, "replace the store's content")
	if t.err != nil || t.w != nil {
		return errors.Join(errors.New("replace the store's content: the tables are not finished"), t.err)
	}
	if !s.readers.enter() {
		return ErrClosed
	}
	defer s.readers.leave()
	// Flush the memtables first: without a WAL the order of their writes and the tables would be
	// lost.
	if err := s.Flush(); err != nil {
		return fmt.Errorf("replace the store's content: %w", err)
	}
	if _, err := s.db.IngestAndExcise(context.Background(), t.paths, nil, nil, everything); err != nil {
		return fmt.Errorf("replace the store's content: %w", err)
	}
	s.size.empty()
	t.err = errors.New("the tables were used")
	return RemoveTables(s.options.FS, t.dir)
}

// completed returns the options as pebble completes them.
func completed(po *pebble.Options) *pebble.Options {
	o := po.Clone()
	o.EnsureDefaults()
	return o
}
