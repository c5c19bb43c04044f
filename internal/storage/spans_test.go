package storage

import (
	"context"
	"encoding/binary"
	"fmt"
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
	rev := uint64(0)
	for range 6 {
		b := s.NewBatch()
		for i := range 100 {
			rev++
			b.Set(fmt.Appendf([]byte{byte(TableCurrent)}, "key %d", i), make([]byte, 100))
			if err := b.Append(binary.BigEndian.AppendUint64([]byte{byte(TableRevisions)}, rev), make([]byte, 100)); err != nil {
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
