package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// bootstrapMark is a file in a directory for the log during a bootstrap. It names the data
// directory, so that an interrupted bootstrap can be repeated.
const bootstrapMark = "BOOTSTRAP"

// LinkLog makes a symbolic link to dir (--wal-dir) where the log store of a new member will be, in
// the directory that NewStores has returned. dir must be empty. UnmarkLog must follow Create.
func (d *Dir) LinkLog(nursery, dir string) error {
	target, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	own, err := filepath.Abs(d.path)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(target, 0o700); err != nil {
		return fmt.Errorf("create %s: %w", dir, cause(err))
	}
	entries, err := list(osFiles{}, target)
	if err != nil {
		return err
	}
	mark := filepath.Join(target, bootstrapMark)
	if text, err := os.ReadFile(mark); err == nil && string(text) == own {
		for _, e := range entries {
			if err := os.RemoveAll(filepath.Join(target, e)); err != nil {
				return fmt.Errorf("remove what an earlier start left: %w", err)
			}
		}
		entries = nil
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is not empty, and %s holds no member: give an empty directory for the log", dir, d.path)
	}
	err = os.WriteFile(mark, []byte(own), 0o600)
	if err = errors.Join(err, osFiles{}.SyncDir(target), osFiles{}.SyncDir(filepath.Dir(target))); err != nil {
		return fmt.Errorf("mark %s: %w", dir, err)
	}
	// a separate directory: the store must find nothing else in it
	log := filepath.Join(target, logName)
	if err := os.Mkdir(log, 0o700); err != nil {
		return fmt.Errorf("create %s: %w", log, cause(err))
	}
	return os.Symlink(log, filepath.Join(nursery, logName))
}

// UnmarkLog completes LinkLog.
func UnmarkLog(dir string) error {
	err := os.Remove(filepath.Join(dir, bootstrapMark))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// CheckLog returns an error when the log of the member is not in dir (--wal-dir). An empty dir is
// not checked: the member's log stays where it was created.
func (d *Dir) CheckLog(dir string) error {
	if dir == "" {
		return nil
	}
	want, err := filepath.EvalSymlinks(dir)
	if err == nil {
		want, err = filepath.Abs(want)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", dir, cause(err))
	}
	want = filepath.Join(want, logName)
	is, err := filepath.EvalSymlinks(d.LogDir())
	if err != nil {
		return fmt.Errorf("%s: %w: the log of this member is not there", d.LogDir(), cause(err))
	}
	if is, err = filepath.Abs(is); err != nil || is != want {
		return fmt.Errorf("%s: the log of this member is in %s: give the directory above that, or leave the flag out", dir, is)
	}
	return nil
}
