package storage

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// logContents returns the content of a log store, without the journal's own key.
func logContents(t *testing.T, s *Store) map[string]string {
	t.Helper()
	got := contents(t, s)
	delete(got, string(journalKey))
	return got
}

// TestJournalOverManyFiles writes, overwrites and removes in a log store whose journal starts new
// files, flushes it and cuts the power at random: the content is that after some commit, and none
// before the last synced one.
func TestJournalOverManyFiles(t *testing.T) {
	rotations := 0
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 7))
		fs := NewCrashableFS()
		o := Options{MemTableBytes: 64 << 10, CacheBytes: 1 << 20}
		states, synced := []map[string]string{{}}, 0
		for life := range 4 {
			o.FS = fs
			s, err := OpenLog("log", o)
			if err != nil {
				t.Fatalf("seed %d, life %d: %v", seed, life, err)
			}
			if life == 0 {
				root, err := fs.OpenDir("/")
				if err := errors.Join(err, root.Sync(), root.Close()); err != nil {
					t.Fatal(err)
				}
			}
			got, now := logContents(t, s), -1
			for i := len(states) - 1; i >= synced && now < 0; i-- {
				if maps.Equal(got, states[i]) {
					now = i
				}
			}
			if now < 0 {
				t.Fatalf("seed %d, life %d: %d keys, which no commit since the last synced one has left", seed, life, len(got))
			}
			states, synced = []map[string]string{states[now]}, 0
			first := s.journal.number
			for range rng.IntN(120) {
				sync := rng.IntN(3) == 0
				states = append(states, someCommit(t, rng, s, states[len(states)-1], sync))
				if sync {
					synced = len(states) - 1
				}
				if rng.IntN(20) == 0 {
					if err := s.Flush(); err != nil {
						t.Fatal(err)
					}
				}
			}
			rotations += int(s.journal.number - first)
			disk := fs.Crash([]int{0, 50, 100}[rng.IntN(3)], rng)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			fs = disk
		}
	}
	if rotations < 10 {
		t.Errorf("the journal has started a new file only %d times; that tests nothing", rotations)
	}
}

// someCommit makes a random commit to s, and returns the content after it, given that before.
func someCommit(t *testing.T, rng *rand.Rand, s *Store, before map[string]string, sync bool) map[string]string {
	t.Helper()
	after := maps.Clone(before)
	b := s.NewBatch()
	var err error
	if rng.IntN(4) == 0 {
		from := rng.IntN(30)
		lower, upper := fmt.Sprintf("k%02d", from), fmt.Sprintf("k%02d", from+rng.IntN(10))
		err = b.DeleteRange([]byte(lower), []byte(upper))
		maps.DeleteFunc(after, func(k, _ string) bool { return lower <= k && k < upper })
	}
	for range 1 + rng.IntN(3) {
		key, value := fmt.Sprintf("k%02d", rng.IntN(40)), strings.Repeat(string(rune('a'+rng.IntN(26))), rng.IntN(6000))
		err = errors.Join(err, b.Append([]byte(key), []byte(value)))
		after[key] = value
	}
	if err := errors.Join(err, b.Commit(sync), b.Close()); err != nil {
		t.Fatal(err)
	}
	return after
}

// TestJournalRemovesFiles: a journal does not grow without limit.
func TestJournalRemovesFiles(t *testing.T) {
	s, err := OpenLog("log", Options{FS: NewCrashableFS(), MemTableBytes: 64 << 10, CacheBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // in memory
	b := s.NewBatch()
	for i := range 200 {
		err := errors.Join(b.Append(fmt.Appendf(nil, "%04d", i), make([]byte, 3000)), b.Commit(true))
		if i%10 == 0 {
			err = errors.Join(err, s.Flush())
		}
		if err != nil {
			t.Fatal(err)
		}
		b.Reset()
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	numbers, err := s.journal.list()
	if err != nil || len(numbers) > 3 || s.journal.number < 9 {
		t.Errorf("files %v, %v", numbers, err)
	}
}

// TestDamagedLogIsNamed: synced data that has changed is detected, unlike a torn tail, and the
// error names the file.
func TestDamagedLogIsNamed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	s, err := OpenLog(dir, Options{MemTableBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	b := s.NewBatch()
	for i := range 30 { // in two files
		if err := errors.Join(b.Append(fmt.Appendf(nil, "%02d", i), bytes.Repeat([]byte{'x'}, 3000)), b.Commit(true)); err != nil {
			t.Fatal(err)
		}
		b.Reset()
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	image := t.TempDir() // before the store is closed, which writes everything
	if err := os.CopyFS(image, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		file   string
		damage func(file []byte, end int)
		keys   int // number of keys; 0 means an error
	}{
		{"none", "000002", func([]byte, int) {}, 30},
		{"torn tail", "000002", func(file []byte, end int) { copy(file[end+100:], "half a record") }, 30},
		{"in the middle", "000002", func(file []byte, end int) { file[end/2] ^= 1 }, 0},
		{"a length", "000002", func(file []byte, _ int) { copy(file[fileHead+4:], "\xff\xff\xff\xff") }, 0},
		// no later record shows that it was synced
		{"the last record", "000002", func(file []byte, end int) { file[end-1] ^= 1 }, 29},
		{"the first file", "000001", func(file []byte, end int) { file[end/2] ^= 1 }, 0},
		{"the last record of the first file", "000001", func(file []byte, end int) { file[end-1] ^= 1 }, 0},
		{"all of the first file", "000001", func(file []byte, _ int) { clear(file) }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, c.file+journalSuffix)
			if err := os.CopyFS(dir, os.DirFS(image)); err != nil {
				t.Fatal(err)
			}
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			c.damage(file, len(bytes.TrimRight(file, "\x00")))
			if err := os.WriteFile(path, file, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := OpenLog(dir, Options{MemTableBytes: 64 << 10})
			if c.keys == 0 {
				if !errors.Is(err, ErrDamagedLog) || !strings.Contains(err.Error(), path) {
					t.Errorf("got %v, want an error that names %s", err, path)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := logContents(t, s); len(got) != c.keys {
				t.Errorf("%d keys are there, want %d", len(got), c.keys)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestOlderLog: a log store with a WAL of pebble, not closed properly, can be opened and used.
func TestOlderLog(t *testing.T) {
	fs := NewCrashableFS()
	older := baseOptions(Options{FS: fs}, 1<<20, 1<<20)
	s, err := open("log", older, false)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := s.db.Set([]byte("a"), fmt.Appendf(nil, "%d", i), pebble.Sync); err != nil {
			t.Fatal(err)
		}
	}
	root, err := fs.OpenDir("/")
	if err := errors.Join(err, root.Sync(), root.Close()); err != nil {
		t.Fatal(err)
	}
	disk := fs.Crash(0, rand.New(rand.NewPCG(1, 1)))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	want := "2"
	for life := range 3 {
		s, err := OpenLog("log", Options{FS: disk})
		if err != nil {
			t.Fatal(err)
		}
		if got := logContents(t, s); !maps.Equal(got, map[string]string{"a": want}) {
			t.Fatalf("life %d: %v", life, got)
		}
		want = fmt.Sprintf("new %d", life)
		b := s.NewBatch()
		if err := errors.Join(b.Append([]byte("a"), []byte(want)), b.Commit(true), b.Close()); err != nil {
			t.Fatal(err)
		}
		disk = disk.Crash(0, rand.New(rand.NewPCG(1, 1)))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUnsyncedCommitsAreWritten: commits without sync do not accumulate in memory, and a closed
// store has them.
func TestUnsyncedCommitsAreWritten(t *testing.T) {
	fs := NewCrashableFS()
	s, err := OpenLog("log", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	b := s.NewBatch()
	for i := range 300 {
		if err := errors.Join(b.Append(fmt.Appendf(nil, "%04d", i), make([]byte, 3000)), b.Commit(false)); err != nil {
			t.Fatal(err)
		}
		b.Reset()
	}
	if n := cap(s.journal.waiting); n > 4*journalWaitingMax {
		t.Errorf("%d bytes of commits wait in memory", n)
	}
	if err := errors.Join(b.Close(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if s, err = OpenLog("log", Options{FS: fs}); err != nil {
		t.Fatal(err)
	}
	if got := logContents(t, s); len(got) != 300 {
		t.Errorf("%d of 300 keys are there", len(got))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestJournalFormat writes the bytes that docs/formats/raft-log.md shows.
func TestJournalFormat(t *testing.T) {
	const marker = 0x8877665544332211
	file := appendFileHead(nil, 1, marker)
	at := uint64(len(file))
	file = appendRecord(file, marker, at, 1, unhex(t, "000000000000000002000000"+"0101610131"+"01016a0101"))
	file = appendRecord(file, marker, uint64(len(file)), 2, unhex(t, "000000000000000002000000"+"0101620131"+"01016a0102"))
	want := "636169726e206a6f75726e616c20320a112233445566778801000000" + "b0a21d3d" +
		"941bbac2" + "16000000112233445566778820000000000000000100000000000000" + "000000000000000002000000" + "0101610131" + "01016a0101" + "0000" +
		"1bda6468" + "16000000112233445566778858000000000000000200000000000000" + "000000000000000002000000" + "0101620131" + "01016a0102" + "0000"
	if got := hex.EncodeToString(file); got != want {
		t.Errorf("the file is\n%s, want\n%s", got, want)
	}
	// A store writes the same file, except for the marker.
	written, _ := journalImage(t, 2, func(int) []byte { return []byte("1") })
	m, ok := parseFileHead(written, 1)
	if !ok || m&markerBit == 0 {
		t.Fatalf("head %x", written[:fileHead])
	}
	if r, ok := parseRecord(written[fileHead:], m); !ok || r.number != 1 || r.synced != fileHead || len(written) != len(file) {
		t.Errorf("first record %+v, %t; %d bytes", r, ok, len(written))
	}
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFirstFormat: a journal in the first format is replayed, damage in it is detected, and the
// store continues in the current format.
func TestFirstFormat(t *testing.T) {
	// docs/formats/raft-log.md showed these bytes: two commits, a → 1 and b → 1.
	old := unhex(t, "05ecf4f716000000010000000000000000000000000000000100000000000000"+"000000000000000002000000"+"0101610131"+"01016a0101"+
		"fe873cfc16000000010000000000000036000000000000000200000000000000"+"000000000000000002000000"+"0101620131"+"01016a0102")
	_, image := journalImage(t, 0, nil)
	damaged := slices.Clone(old)
	damaged[40] ^= 1
	if _, err := OpenLog("log", Options{FS: withFile(t, image, "log/000001.journal", damaged)}); !errors.Is(err, ErrDamagedLog) {
		t.Errorf("damaged: %v", err)
	}
	disk := withFile(t, image, "log/000001.journal", append(slices.Clone(old), make([]byte, 1000)...))
	for life := range 3 {
		s, err := OpenLog("log", Options{FS: disk})
		if err != nil {
			t.Fatal(err)
		}
		if got := logContents(t, s); len(got) != 2+life || got["a"] != "1" || got["b"] != "1" {
			t.Fatalf("life %d: %v", life, got)
		}
		b := s.NewBatch()
		if err := errors.Join(b.Append(fmt.Appendf(nil, "new%d", life), nil), b.Commit(true), b.Close()); err != nil {
			t.Fatal(err)
		}
		names, err := disk.List("log")
		if err != nil || slices.Contains(names, "000001.journal") {
			t.Errorf("files %v, %v", names, err)
		}
		disk = disk.Crash(0, rand.New(rand.NewPCG(1, 1)))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
