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

// CheckLog returns an error when the log of the member is not in dir (--wal-dir), or when the link
// to it leads nowhere. An empty dir means the place where the log was created.
func (d *Dir) CheckLog(dir string) error {
	is, err := filepath.EvalSymlinks(d.LogDir())
	if err != nil {
		return d.missingLog(dir, err)
	}
	if is, err = filepath.Abs(is); err != nil || dir == "" {
		return err
	}
	want, err := filepath.EvalSymlinks(dir)
	if err == nil {
		want, err = filepath.Abs(want)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", dir, cause(err))
	}
	if err != nil || is != filepath.Join(want, logName) {
		return fmt.Errorf("%s: the log of this member is in %s: want --wal-dir=%s, or no such flag", dir, is, filepath.Dir(is))
	}
	return nil
}

// missingLog explains why the log cannot be found. A disk that is not mounted must not look like a
// log that is lost.
func (d *Dir) missingLog(dir string, err error) error {
	target, errLink := os.Readlink(d.LogDir())
	if errLink != nil { // it is no link
		return fmt.Errorf("%s: %w: the log of this member is missing: restore a backup, or replace the member (etcdctl member replace)", d.LogDir(), cause(err))
	}
	moved := "NEW-DIRECTORY"
	if at, err := filepath.Abs(dir); err == nil && dir != "" {
		moved = at
	}
	return fmt.Errorf("the log of this member is in %s, which cannot be read: %w: mount its disk, or, if the log was moved, change the link: ln -sfn %s %s",
		target, cause(err), filepath.Join(moved, logName), d.LogDir())
}
