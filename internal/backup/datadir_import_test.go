package backup

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/etcdfile"
	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/mvcc"
)

func importedDir(t testing.TB, dir string) (*machine.Machine, Imported) {
	t.Helper()
	d, err := etcdfile.OpenDataDir(dir, "")
	must(t, err)
	to := target(filepath.Join(t.TempDir(), "imported"))
	found, err := ImportDataDir(d, to, nil)
	must(t, errors.Join(err, d.Close()))
	_, m := content(t, to.Dir)
	return m, found
}

// keyAt returns the value of a key at a revision.
func keyAt(t *testing.T, m *machine.Machine, key string, revision int64) (value string, ok bool) {
	t.Helper()
	var c mvcc.Collector
	_, err := m.Keys().Range(&mvcc.RangeOp{KeyRange: kv.KeyRange{Key: []byte(key)}, Revision: revision}, &c)
	must(t, err)
	if len(c.Keys) == 0 {
		return "", false
	}
	return string(c.Keys[0].Value), true
}

// TestImportOfDataDirHasWhatTheLogHas: etcd was killed after a put and a delete whose entries its
// database does not have.
func TestImportOfDataDirHasWhatTheLogHas(t *testing.T) {
	for _, version := range etcdVersions {
		t.Run(version, func(t *testing.T) {
			_, want := etcdSnapshot(t, version)
			m, found := importedDir(t, unpack(t, version+".data-dir.tar.gz"))
			if found.Revision != 115 || found.Refused != 0 || found.Uncommitted != 0 {
				t.Errorf("found %+v, want revision 115 and nothing refused or skipped", found)
			}
			for at, keys := range want.At {
				revision, err := strconv.ParseInt(at, 10, 64)
				must(t, err)
				compareKeys(t, m, revision, keys)
			}
			for _, c := range []struct {
				key      string
				revision int64
				there    bool
			}{
				{"/in/the/wal", 113, false},
				{"/in/the/wal", 114, true},
				{"/registry/pods/default/pod-002", 114, true},
				{"/registry/pods/default/pod-002", 115, false},
			} {
				if _, there := keyAt(t, m, c.key, c.revision); there != c.there {
					t.Errorf("key %s at revision %d exists: %t, want %t", c.key, c.revision, there, c.there)
				}
			}
			compareLeases(t, m, want)
			checkPasswords(t, m, want.Passwords)
		})
	}
}

// TestImportReplaysTheWholeLog applies the log from its first entry to an empty database: the
// result must equal the state of etcd's database.
func TestImportReplaysTheWholeLog(t *testing.T) {
	for _, version := range etcdVersions {
		t.Run(version, func(t *testing.T) {
			dir := unpack(t, version+".data-dir.tar.gz")
			want, _ := importedDir(t, dir)
			// the database that Create makes has no consistent index
			empty := filepath.Join(t.TempDir(), "db")
			w, err := etcdfile.Create(empty)
			must(t, err)
			_, err = w.Finish()
			must(t, errors.Join(err, w.Close(), os.Rename(empty, filepath.Join(dir, "member", "snap", "db"))))
			got, found := importedDir(t, dir)
			t.Log(found.String())
			a, b := want.Keys().Head(), got.Keys().Head()
			if a.Revision != b.Revision || a.CompactRevision != b.CompactRevision {
				t.Fatalf("revision %d compacted at %d, want %d compacted at %d", b.Revision, b.CompactRevision, a.Revision, a.CompactRevision)
			}
			for revision := a.CompactRevision; revision <= a.Revision; revision++ {
				compareStores(t, want, got, revision)
			}
			if x, y := want.Auth().State(), got.Auth().State(); !y.Enabled || x.Revision != y.Revision {
				t.Errorf("authentication enabled: %t at revision %d, want revision %d", y.Enabled, y.Revision, x.Revision)
			}
		})
	}
}

// compareStores compares all keys of two stores at a revision.
func compareStores(t *testing.T, a, b *machine.Machine, revision int64) {
	t.Helper()
	var x, y mvcc.Collector
	op := &mvcc.RangeOp{KeyRange: kv.KeyRange{Key: []byte{0}, End: []byte{0}}, Revision: revision}
	_, err := a.Keys().Range(op, &x)
	must(t, err)
	_, err = b.Keys().Range(op, &y)
	must(t, err)
	if len(x.Keys) == 0 || !reflect.DeepEqual(x.Keys, y.Keys) {
		t.Errorf("revision %d: %d keys, want %d with the same records", revision, len(y.Keys), len(x.Keys))
	}
}

// readStart returns the first n bytes of a file.
func readStart(t testing.TB, path string, n int) []byte {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	b := make([]byte, n)
	_, err = io.ReadFull(f, b)
	must(t, err)
	return b
}

// walRecords returns the offsets of the records in a log's file, and the end of the last one.
func walRecords(t *testing.T, wal []byte) (at []int, end int) {
	t.Helper()
	for {
		n := binary.LittleEndian.Uint64(wal[end:])
		if n == 0 {
			return at, end
		}
		at = append(at, end)
		end += 8 + int(n&(1<<56-1)) + int(n>>63*(n>>56&7))
	}
}

// TestImportRefusesADamagedLog: damage is an error that names the file and the offset, except for
// an incomplete record at the end.
func TestImportRefusesADamagedLog(t *testing.T) {
	dir := unpack(t, "3.4.23.data-dir.tar.gz")
	path := filepath.Join(dir, "member", "wal", "0000000000000000-0000000000000000.wal")
	whole := readStart(t, path, 1<<20)
	records, end := walRecords(t, whole)
	whole = whole[:end+4096] // the zeros behind the records are the same everywhere
	var entries []string     // of the log that was opened last
	open := func(content []byte) (uint64, error) {
		must(t, os.WriteFile(path, content, 0o600))
		d, err := etcdfile.OpenDataDir(dir, "")
		if err != nil {
			return 0, err
		}
		entries = nil
		err = d.WAL.Entries(d.Committed(), func(e *raftpb.Entry) error {
			entries = append(entries, string(e.Data))
			return nil
		})
		return d.Committed(), errors.Join(err, d.Close())
	}
	last, err := open(whole)
	must(t, err)
	undamaged := entries
	// A byte of the padding between records may have any value.
	for _, at := range damagedPlaces(records[len(records)-4], 20) {
		damaged := bytes.Clone(whole)
		damaged[at] ^= 0x40
		_, err := open(damaged)
		refused := errors.Is(err, etcdfile.ErrCorrupt) && strings.Contains(err.Error(), path+", offset ")
		if !refused && (err != nil || !slices.Equal(entries, undamaged)) {
			t.Errorf("byte %d changed: %d entries, %v; want ErrCorrupt with the offset, or the %d entries of the undamaged log", at, len(entries), err, len(undamaged))
		}
	}
	for i := 1; i < len(records)-4; i += 1 + len(records)/40 {
		for _, byteAt := range []int{records[i] + 1, records[i] + 2, records[i] + 12, records[i+1] - 9} {
			damaged := bytes.Clone(whole)
			damaged[byteAt] ^= 0x40
			_, err := open(damaged)
			if !errors.Is(err, etcdfile.ErrCorrupt) || !strings.Contains(err.Error(), path+", offset ") {
				t.Errorf("record %d of %d, byte %d changed: %v, want ErrCorrupt with the offset", i, len(records), byteAt, err)
			}
		}
	}
	// truncated within the last records: the log ends there, or an entry recorded as committed is
	// missing
	for cut := records[len(records)-3]; cut < end; cut++ {
		committed, err := open(whole[:cut])
		switch {
		case errors.Is(err, etcdfile.ErrCorrupt):
		case err != nil || committed > last || committed+2 < last:
			t.Errorf("cut at %d: committed %d, %v; want at most %d", cut, committed, err, last)
		}
	}
}
