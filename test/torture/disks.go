package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cairn/test/fleet"
)

// smallDisk is a separate disk for one member, which can be filled up.
type smallDisk struct {
	member *fleet.Member
	dir    string
}

// smallDiskBytes is room for what a member needs in a bout.
const smallDiskBytes = 768 << 20

// mountSmallDisk mounts a tmpfs as the directory of a member that has not run yet. It needs root.
func mountSmallDisk(m *fleet.Member) (*smallDisk, error) {
	if err := os.MkdirAll(m.DataDir(), 0o700); err != nil {
		return nil, err
	}
	err := unix.Mount("none", m.DataDir(), "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", smallDiskBytes))
	if err != nil {
		return nil, fmt.Errorf("mount a tmpfs on %s: %w", m.DataDir(), err)
	}
	return &smallDisk{m, m.DataDir()}, nil
}

func (d *smallDisk) unmount() error { return unix.Unmount(d.dir, unix.MNT_DETACH) }

// fill keeps the disk full for a while. The member may stop; it is started again once there is
// space.
func (d *smallDisk) fill(ctx context.Context, b *bout) error {
	balloon := filepath.Join(d.dir, "balloon")
	f, err := os.Create(balloon)
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	for until := time.Now().Add(b.span(2*time.Second, 6*time.Second)); time.Now().Before(until) && ctx.Err() == nil; {
		// Space that the member frees is filled again.
		if _, err := f.Write(block); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				return err
			}
			sleep(ctx, 20*time.Millisecond)
		}
	}
	if err := os.Remove(balloon); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if !d.member.Running() {
		b.note("%s stopped on the full disk: %s", d.member.Name, lastLine(d.member))
		if _, err := d.member.AwaitEnd(ctx); err != nil {
			return err
		}
		return d.member.Start()
	}
	b.note("%s went on with a full disk", d.member.Name)
	return nil
}

func lastLine(m *fleet.Member) string {
	lines := strings.Split(strings.TrimSpace(m.Log()), "\n")
	return lines[len(lines)-1]
}

// unsyncedMax exceeds the bytes that a member appends here between two syncs.
const unsyncedMax = 8 << 10

// newestLog returns the log file that a member wrote last, and the end of the written part: files
// are preallocated.
func newestLog(m *fleet.Member) (path string, end int64, err error) {
	files, err := filepath.Glob(filepath.Join(m.DataDir(), "member", "log", "*.journal"))
	if err != nil || len(files) == 0 {
		return "", 0, fmt.Errorf("log files of %s: %d, %w", m.Name, len(files), err)
	}
	// The names are in order of age.
	path = files[0]
	for _, f := range files {
		path = max(path, f)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", 0, err
	}
	end = int64(len(b))
	for end > 0 && b[end-1] == 0 {
		end--
	}
	return path, end, nil
}

// tornTail imitates a power cut: the last record was being written and was never synced, so it was
// not acknowledged. The member must start without it.
func tornTail(ctx context.Context, b *bout) error {
	m := b.any()
	if err := m.Kill(); err != nil {
		return err
	}
	path, end, err := newestLog(m)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if b.rng.IntN(2) == 0 {
		// The file was cut where it was not written yet. Zeros may be the record's own end.
		if info, err := f.Stat(); err == nil && end+64 < info.Size() {
			err = f.Truncate(end + 64)
			if err != nil {
				return err
			}
		}
	} else {
		torn := make([]byte, 1+b.rng.IntN(4000))
		for i := range torn {
			torn[i] = byte(b.rng.Uint32())
		}
		if _, err := f.WriteAt(torn, end+64); err != nil {
			return err
		}
	}
	b.wait(ctx, 100*time.Millisecond, time.Second)
	return m.Start()
}

// corruptLog damages synced bytes. The member must detect that and stop with an error that names
// the file; then it is replaced as after the loss of its disk.
func corruptLog(ctx context.Context, b *bout) error {
	m := b.any()
	if err := m.Kill(); err != nil {
		return err
	}
	path, end, err := newestLog(m)
	if err != nil {
		return err
	}
	// Later records show that these bytes were synced.
	last := end - 2*unsyncedMax
	if last <= 0 {
		return errors.Join(errSkipped, m.Start())
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	at := b.rng.Int64N(last)
	damaged := make([]byte, 16)
	if _, err := f.ReadAt(damaged, at); err != nil {
		return err
	}
	for i := range damaged {
		damaged[i] ^= 0xa5
	}
	if _, err := f.WriteAt(damaged, at); err != nil {
		return err
	}
	if err := m.Start(); err != nil {
		return err
	}
	ended, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	state, err := m.AwaitEnd(ended)
	switch {
	case err != nil:
		b.violation("%s runs with 16 damaged bytes at %d of %s, of %d that were written", m.Name, at, path, end)
	case state.Success():
		b.violation("%s ended with status 0 over a damaged %s", m.Name, path)
	case !strings.Contains(m.Log(), filepath.Base(path)):
		b.violation("%s stopped over a damaged %s without naming it: %s", m.Name, path, lastLine(m))
	default:
		b.note("%s refused its log: %s", m.Name, lastLine(m))
	}
	b.memberChanges(m)
	return b.fleet.Replace(ctx, m)
}

// stepClock moves the clock of this machine.
func stepClock(by time.Duration) error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
		return err
	}
	now.Sec += int64(by / time.Second)
	return unix.ClockSettime(unix.CLOCK_REALTIME, &now)
}
