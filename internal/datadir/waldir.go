package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// bootstrapMark is a file in a directory for the log during a bootstrap. It names the data
// directory, so that an interrupted bootstrap can be repeated.
const bootstrapMark = "BOOTSTRAP"

// OutsideMember returns dir (--wal-dir), or "" if it is the member's own directory or below it: the
// log is there anyway. etcd's place for its log without the flag is member/wal, and a user may give
// that, too.
func (d *Dir) OutsideMember(dir string) (string, error) {
	if dir == "" {
		return "", nil
	}
	target, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	member, err := filepath.Abs(d.MemberDir())
	if err != nil {
		return "", err
	}
	if target == member || strings.HasPrefix(target, member+string(filepath.Separator)) {
		return "", nil
	}
	return dir, nil
}

// LinkLog makes a symbolic link to dir (--wal-dir) where the log store of a new member will be, in
// the directory that NewStores has returned, and locks dir. dir must be empty. SignLog must follow
// Create.
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
	if err := d.lockLog(target); err != nil {
		return err
	}
	entries, err := list(osFiles{}, target)
	if err != nil {
		return err
	}
	entries = slices.DeleteFunc(entries, func(e string) bool { return e == lockName })
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
		owner := ownerOf(target)
		if owner != "" {
			owner = ": it has the log" + owner
		}
		return fmt.Errorf("%s is not empty%s, and %s holds no member: give an empty directory for the log, or the --data-dir of that member", dir, owner, d.path)
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

// SignLog completes LinkLog: the directory of the log gets a copy of FORMAT, so that no other
// member uses it.
func (d *Dir) SignLog(dir string) error {
	err := osFiles{}.WriteFile(filepath.Join(dir, formatName), d.id.encode())
	if err = errors.Join(err, osFiles{}.SyncDir(dir)); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Join(dir, formatName), cause(err))
	}
	if err := os.Remove(filepath.Join(dir, bootstrapMark)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// CheckLog returns an error when the log of the member is not in dir (--wal-dir), when the link to
// it leads nowhere, or when the log is that of another member or in use. An empty dir means the
// place where the log was created.
func (d *Dir) CheckLog(dir string) error {
	is, err := filepath.EvalSymlinks(d.LogDir())
	if err != nil {
		return d.missingLog(dir, err)
	}
	if is, err = filepath.Abs(is); err != nil {
		return err
	}
	if dir != "" {
		if err := d.checkPlace(dir, is); err != nil {
			return err
		}
	}
	entries, err := list(osFiles{}, is)
	if err == nil && len(entries) == 0 {
		err = errors.New("it is empty")
	}
	if err != nil {
		return d.missingLog(dir, err)
	}
	if info, err := os.Lstat(d.LogDir()); err != nil || info.Mode()&fs.ModeSymlink == 0 || filepath.Base(is) != logName {
		return err // in the data directory, or in a place that an operator has chosen for the link
	}
	return d.checkOwner(filepath.Dir(is))
}

// checkPlace compares the place of the log with the one in dir.
func (d *Dir) checkPlace(dir, is string) error {
	want, err := filepath.EvalSymlinks(dir)
	if err == nil {
		want, err = filepath.Abs(want)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", dir, cause(err))
	}
	if err == nil && is == filepath.Join(want, logName) {
		return nil
	}
	if info, err := os.Lstat(d.LogDir()); err == nil && info.Mode()&fs.ModeSymlink == 0 {
		to, err := filepath.Abs(filepath.Join(dir, logName))
		if err != nil {
			return err
		}
		return fmt.Errorf("%s: the log of this member is in its data directory (%s): start it without --wal-dir, or move the log first: mkdir -p %s && mv %s %s && ln -s %s %s",
			dir, is, filepath.Dir(to), is, to, to, is)
	}
	return fmt.Errorf("%s: the log of this member is in %s: want --wal-dir=%s, or no such flag", dir, is, filepath.Dir(is))
}

// checkOwner locks the directory of the log and compares its FORMAT with the member's. A directory
// without FORMAT, from an earlier version or after the log was moved, gets one.
func (d *Dir) checkOwner(dir string) error {
	if err := d.lockLog(dir); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(dir, formatName))
	if errors.Is(err, fs.ErrNotExist) {
		if err := d.SignLog(dir); !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EROFS) {
			return err
		}
		return nil // the log was moved into a directory that is not the member's
	}
	if err != nil {
		return fmt.Errorf("%s: read %s: %w", dir, formatName, cause(err))
	}
	owner, err := decode(text)
	if err != nil {
		return fmt.Errorf("%s: %s is damaged: %w: remove the file if the directory has the log of this member", dir, formatName, err)
	}
	if owner.MemberID != d.id.MemberID || owner.ClusterID != d.id.ClusterID {
		return fmt.Errorf("%s: has the log%s, but %s holds member %x (%q) of cluster %x: mount the right disk there, or start with the --data-dir of that member",
			dir, ownerOf(dir), d.path, d.id.MemberID, d.id.Name, d.id.ClusterID)
	}
	return nil
}

// ownerOf describes the member whose log is in dir: "" if it is not known.
func ownerOf(dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, formatName))
	if err != nil {
		return ""
	}
	id, err := decode(text)
	if err != nil {
		return ""
	}
	return fmt.Sprintf(" of member %x (%q) of cluster %x", id.MemberID, id.Name, id.ClusterID)
}

// lockLog takes the lock of the directory of the log, which two data directories could have links
// to.
func (d *Dir) lockLog(dir string) error {
	if d.logLock != nil {
		return nil // by LinkLog
	}
	f, err := lockFile(filepath.Join(dir, lockName))
	if held := new(heldError); errors.As(err, &held) {
		return fmt.Errorf("%s: is in use by %s: give each member its own --wal-dir", dir, held.holder)
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return nil // the log was moved into a directory that is not the member's
	}
	if err != nil {
		return fmt.Errorf("%s: lock: %w", dir, cause(err))
	}
	d.logLock = f
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
	return fmt.Errorf("the log of this member is in %s, which cannot be used: %w: mount its disk, or, if the log was moved, change the link: ln -sfn %s %s",
		target, cause(err), filepath.Join(moved, logName), d.LogDir())
}
