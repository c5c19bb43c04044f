package storage

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestJournalSyncLeavesCoarseTimes: a commit does not ask the kernel for the times of the journal's
// file. Since Linux 6.13 a file whose times were asked for gets a precise time at its next write,
// which each fdatasync then has to write, too; other files get the time of the last clock tick.
func TestJournalSyncLeavesCoarseTimes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	s, err := OpenLog(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	commit := func() {
		t.Helper()
		b := s.NewBatch()
		defer b.Close() //nolint:errcheck // holds memory only
		if err := b.Append([]byte("k"), []byte("v")); err != nil {
			t.Fatal(err)
		}
		if err := b.Commit(true); err != nil {
			t.Fatal(err)
		}
	}
	// Two commits within one tick leave its time, unless another process got a precise time for a
	// file of its own meanwhile: the kernel lets no time go back.
	var tick, want, modified time.Time
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		for last := coarseTime(t); tick.Compare(last) <= 0; {
			tick = coarseTime(t)
		}
		commit()
		if !coarseTime(t).Equal(tick) {
			continue
		}
		commit()
		info, err := os.Stat(s.journal.path(s.journal.number))
		if err != nil {
			t.Fatal(err)
		}
		if modified = info.ModTime(); modified.Equal(tick) {
			return
		}
		want = tick
	}
	if want.IsZero() {
		t.Skip("no commit took less than a clock tick")
	}
	t.Errorf("the journal was modified at %v, want %v, the time of a clock tick", modified, want)
}

// coarseTime returns the time of the last clock tick.
func coarseTime(t *testing.T) time.Time {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &now); err != nil {
		t.Fatal(err)
	}
	return time.Unix(now.Unix())
}
