package storage

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// faultyOp reports whether a call of the file system changes something in the log store's
// directory.
func faultyOp(op errorfs.Op) bool {
	return op.Kind != errorfs.OpFileClose && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && strings.HasPrefix(op.Path, "log")
}

// faultRun writes to a log store on fs, whose journal starts new files meanwhile, until something
// fails. It returns the content after each commit, how many commits are certain to be durable, and
// the state of the store.
func faultRun(fs FS, seed uint64) (states []map[string]string, synced *atomic.Int64, run func(t *testing.T) error) {
	states, synced = []map[string]string{{}}, new(atomic.Int64)
	rng := rand.New(rand.NewPCG(seed, 11))
	type step struct {
		key, value string
		sync       bool
	}
	var steps []step
	for range 60 {
		s := step{fmt.Sprintf("k%02d", rng.IntN(30)), strings.Repeat("v", rng.IntN(4000)), rng.IntN(3) > 0}
		steps = append(steps, s)
		after := maps.Clone(states[len(states)-1])
		after[s.key] = s.value
		states = append(states, after)
	}
	return states, synced, func(t *testing.T) error {
		s, err := OpenLog("log", Options{FS: fs, MemTableBytes: 64 << 10, CacheBytes: 1 << 20, Still: true})
		if err != nil {
			return err
		}
		defer s.Close() //nolint:errcheck // broken or in memory
		for i, step := range steps {
			b := s.NewBatch()
			err := errors.Join(b.Append([]byte(step.key), []byte(step.value)), b.Commit(step.sync), b.Close())
			if err != nil {
				b := s.NewBatch()
				if again := errors.Join(b.Append([]byte("late"), nil), b.Commit(true)); again == nil {
					t.Errorf("a commit succeeded after %v", err)
				}
				return errors.Join(err, b.Close())
			}
			if step.sync {
				synced.Store(int64(i + 1))
			}
			if i%25 == 24 {
				if err := s.Flush(); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

// checkLeft opens a disk after a crash: the content must be that after some commit, and none before
// the durable ones.
func checkLeft(t *testing.T, disk CrashableFS, states []map[string]string, synced int64) {
	t.Helper()
	for life := range 2 {
		s, err := OpenLog("log", Options{FS: disk, MemTableBytes: 64 << 10, CacheBytes: 1 << 20})
		if err != nil {
			t.Errorf("life %d: %v", life, err)
			return
		}
		got := logContents(t, s)
		delete(got, "late") // a refused commit may still be on disk
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if !slices.ContainsFunc(states[synced:], func(m map[string]string) bool { return maps.Equal(m, got) }) {
			t.Errorf("life %d: %d keys, which no commit from %d on has left", life, len(got), synced)
		}
	}
}

// newFaultyDisk returns a file system with a durable empty directory "log".
func newFaultyDisk(t *testing.T) CrashableFS {
	t.Helper()
	fs := NewCrashableFS()
	if err := fs.MkdirAll("log", 0o700); err != nil {
		t.Fatal(err)
	}
	root, err := fs.OpenDir("/")
	if err := errors.Join(err, root.Sync(), root.Close()); err != nil {
		t.Fatal(err)
	}
	return fs
}

// TestJournalPowerCutAnywhere cuts the power before each call that changes the disk, also while a
// store is opened and while its journal starts a new file.
func TestJournalPowerCutAnywhere(t *testing.T) {
	cuts := 0
	for n := int64(1); ; n++ {
		under := newFaultyDisk(t)
		var count atomic.Int64
		var left atomic.Pointer[CrashableFS]
		var durable atomic.Int64
		var synced *atomic.Int64
		fs := errorfs.Wrap(under, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if faultyOp(op) && count.Add(1) == n {
				durable.Store(synced.Load())
				disk := under.Crash([]int{0, 50, 100}[n%3], rand.New(rand.NewPCG(uint64(n), 3)))
				left.Store(&disk)
			}
			return nil
		}))
		var states []map[string]string
		var run func(t *testing.T) error
		states, synced, run = faultRun(fs, 1)
		if err := run(t); err != nil {
			t.Fatal(err)
		}
		disk := left.Load()
		if disk == nil {
			break
		}
		cuts++
		checkLeft(t, *disk, states, durable.Load())
		if t.Failed() {
			t.Fatalf("the power was cut before change %d of the disk", n)
		}
	}
	if cuts < 100 {
		t.Errorf("the power was cut at %d places; there are more", cuts)
	}
}

// TestJournalFailsAnywhere fails each call that changes the journal: the commit at that call is
// refused, and all later ones.
func TestJournalFailsAnywhere(t *testing.T) {
	broken := errors.New("input/output error")
	fails := 0
	for n := int64(1); ; n++ {
		under := newFaultyDisk(t)
		var count atomic.Int64
		fs := errorfs.Wrap(under, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if !faultyOp(op) || !strings.HasSuffix(op.Path, journalSuffix) || count.Add(1) < n {
				return nil
			}
			return broken // all later calls fail
		}))
		states, synced, run := faultRun(fs, 2)
		if err := run(t); err == nil && count.Load() < n {
			break
		} else if err == nil {
			continue // only closing the store failed
		}
		fails++
		checkLeft(t, under.Crash([]int{0, 50, 100}[n%3], rand.New(rand.NewPCG(uint64(n), 3))), states, synced.Load())
		if t.Failed() {
			t.Fatalf("calls failed from change %d of the journal on", n)
		}
	}
	if fails < 50 {
		t.Errorf("%d calls failed; there are more", fails)
	}
}

// TestJournalCutAtEachByte: wherever a journal's last record is truncated, or flipped, the records
// before it are read.
func TestJournalCutAtEachByte(t *testing.T) {
	whole, image := journalImage(t, 3, func(i int) []byte { return []byte("value") })
	record := (len(whole) - fileHead) / 3
	for at := range len(whole) {
		for name, damage := range map[string]func() []byte{
			"cut":    func() []byte { return slices.Clone(whole[:at]) }, // Write may change it
			"zeroed": func() []byte { return append(slices.Clone(whole[:at]), make([]byte, 1000)...) },
			"flipped": func() []byte {
				b := slices.Clone(whole)
				b[at] ^= 1 << (at % 8)
				return b
			},
		} {
			s, err := OpenLog("log", Options{FS: withJournal(t, image, damage())})
			if name == "flipped" && at < fileHead+2*record {
				if !errors.Is(err, ErrDamagedLog) {
					t.Errorf("flipped at %d: %v", at, err)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%s at %d: %v", name, at, err)
			}
			// A truncated record, or one zeroed with everything behind it, cannot be distinguished
			// from one that was never written.
			want := max(at-fileHead, 0) / record
			if got := logContents(t, s); len(got) != want && (name != "zeroed" || len(got) != want+1) {
				t.Errorf("%s at %d: %v", name, at, got)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// journalImage returns the journal of a log store after some synced commits, and the disk without
// the journal.
func journalImage(t *testing.T, commits int, value func(i int) []byte) (file []byte, image CrashableFS) {
	t.Helper()
	fs := NewCrashableFS()
	s, err := OpenLog("log", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	image = fs.Crash(0, rand.New(rand.NewPCG(1, 1)))
	for i := range commits {
		b := s.NewBatch()
		if err := errors.Join(b.Append(fmt.Appendf(nil, "%d", i), value(i)), b.Commit(true), b.Close()); err != nil {
			t.Fatal(err)
		}
	}
	path := s.journal.path(1)
	file, err = s.journal.read(journalFile{path: path})
	if err := errors.Join(err, s.Close(), image.Remove(path), syncDir(image, "log")); err != nil {
		t.Fatal(err)
	}
	return file, image
}

// withJournal returns a copy of the disk image whose log store has the given journal.
func withJournal(t *testing.T, image CrashableFS, file []byte) CrashableFS {
	t.Helper()
	return withFile(t, image, "log/000001"+journalSuffix, file)
}

func withFile(t *testing.T, image CrashableFS, path string, content []byte) CrashableFS {
	t.Helper()
	disk := image.Crash(0, rand.New(rand.NewPCG(1, 1)))
	f, err := disk.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return disk
}

// TestPayloadIsNoRecord: a value in a torn tail that looks like a record is not read as one.
func TestPayloadIsNoRecord(t *testing.T) {
	// To a reader that ignores markers these are records that were written when the file had been
	// synced far beyond the torn record.
	forged := appendRecord(nil, 1, 1<<40, 7, []byte("payload"))
	for shift := range recordAlign {
		value := append(make([]byte, shift), forged...)
		whole, image := journalImage(t, 2, func(int) []byte { return value })
		record := (len(whole) - fileHead) / 2
		for at := range recordHead {
			file := slices.Clone(whole)
			file[fileHead+record+at] ^= 1
			s, err := OpenLog("log", Options{FS: withJournal(t, image, file)})
			if err != nil {
				t.Fatalf("byte %d of the torn record's head changed: %v", at, err)
			}
			if got := logContents(t, s); len(got) != 1 {
				t.Errorf("%d keys, want 1", len(got))
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestPayloadWithMarker: a payload that contains the marker of the file is written to another file.
func TestPayloadWithMarker(t *testing.T) {
	fs := NewCrashableFS()
	s, err := OpenLog("log", Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		before := s.journal.number
		value := appendRecord([]byte("x"), s.journal.marker, 1<<40, 99, []byte("payload"))
		b := s.NewBatch()
		if err := errors.Join(b.Append(fmt.Appendf(nil, "%d", i), value), b.Commit(true), b.Close()); err != nil {
			t.Fatal(err)
		}
		if s.journal.number != before+1 {
			t.Errorf("commit %d is in file %d, whose marker it contains", i, s.journal.number)
		}
	}
	disk := fs.Crash(0, rand.New(rand.NewPCG(1, 1)))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = OpenLog("log", Options{FS: disk}); err != nil {
		t.Fatal(err)
	}
	if got := logContents(t, s); len(got) != 3 {
		t.Errorf("%d keys, want 3", len(got))
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
