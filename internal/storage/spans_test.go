package storage

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"path/filepath"
	"testing"
)

// No sstable has keys of table r together with keys of other tables, and compacting the others does
// not write table r again.
func TestHistoryHasTablesOfItsOwn(t *testing.T) {
	s, err := OpenState("state", Options{FS: NewCrashableFS(), Still: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // in memory
	writeHistory(t, s, 100)
	before := historyTables(t, s)
	if len(before) < 6 {
		t.Fatalf("tables with history: %v, want one for each of 6 flushes", before)
	}
	if err := s.db.Compact(context.Background(), []byte{byte(TableCurrent)}, []byte{byte(TableCurrent) + 1}, false); err != nil {
		t.Fatal(err)
	}
	after := historyTables(t, s)
	for number := range before {
		if !after[number] {
			t.Errorf("table %d of the history was rewritten by a compaction of other tables: %v, then %v", number, before, after)
		}
	}
}

// TestHistoryIsWrittenOnce: a compaction that rewrites the sstables of the history leaves its
// values in the blob files that the flushes have written. Values of other tables have none.
func TestHistoryIsWrittenOnce(t *testing.T) {
	fs := NewCrashableFS()
	s, err := OpenState("state", Options{FS: fs, Still: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // in memory
	writeHistory(t, s, 300)
	before := blobFiles(t, fs)
	if len(before) != 6 {
		t.Fatalf("blob files: %v, want one for each of 6 flushes", before)
	}
	if err := s.Reclaim(context.Background()); err != nil {
		t.Fatal(err)
	}
	if after := blobFiles(t, fs); !maps.Equal(before, after) {
		t.Errorf("blob files before a compaction of everything: %v, after it: %v", before, after)
	}
	it := s.NewIter([]byte{byte(TableRevisions)}, []byte{byte(TableRevisions) + 1})
	defer it.Close() //nolint:errcheck // checked by Err
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		if n++; !bytes.Equal(it.Value(), make([]byte, 300)) {
			t.Fatalf("event %d: %x", n, it.Value())
		}
	}
	if n != 600 || it.Err() != nil {
		t.Errorf("%d events, %v; want 600", n, it.Err())
	}
}

// blobFiles returns the sizes of the blob files.
func blobFiles(t *testing.T, fs FS) map[string]int64 {
	t.Helper()
	names, err := fs.List("state")
	if err != nil {
		t.Fatal(err)
	}
	sizes := make(map[string]int64)
	for _, name := range names {
		if filepath.Ext(name) != ".blob" {
			continue
		}
		info, err := fs.Stat(fs.PathJoin("state", name))
		if err != nil {
			t.Fatal(err)
		}
		sizes[name] = info.Size()
	}
	return sizes
}

// writeHistory overwrites 100 keys in each of 6 flushes, with values of a size in tables c and r.
func writeHistory(t *testing.T, s *Store, size int) {
	t.Helper()
	rev := uint64(0)
	for range 6 {
		b := s.NewBatch()
		for i := range 100 {
			rev++
			b.Set(fmt.Appendf([]byte{byte(TableCurrent)}, "key %d", i), make([]byte, size))
			if err := b.Append(binary.BigEndian.AppendUint64([]byte{byte(TableRevisions)}, rev), make([]byte, size)); err != nil {
				t.Fatal(err)
			}
		}
		b.Set([]byte{byte(TableSystem), 'p'}, binary.BigEndian.AppendUint64(nil, rev))
		if err := b.Commit(false); err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
	}
}

// historyTables returns the numbers of the sstables that have keys of table r.
func historyTables(t *testing.T, s *Store) map[uint64]bool {
	t.Helper()
	levels, err := s.db.SSTables()
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[uint64]bool)
	for _, level := range levels {
		for _, table := range level {
			first, last := Table(table.Smallest.UserKey[0]), Table(table.Largest.UserKey[0])
			if first > TableRevisions || last < TableRevisions {
				continue
			}
			if first != last {
				t.Errorf("table %d has keys from table %c to table %c", table.TableInfo.FileNum, first, last)
			}
			found[uint64(table.TableInfo.FileNum)] = true
		}
	}
	return found
}
