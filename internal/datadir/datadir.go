// Package datadir owns the layout of a member's data directory (docs/formats/data-directory.md):
// which directories are taken and which refused, the lock that keeps a second process out, and the
// file FORMAT that says whose the directory is.
//
// It does not own the stores below it: storage does, and is only told where they are.
//
// Invariants: nothing is written to a directory that is refused; at most one process has a
// directory open; FORMAT is either not there or whole, and never changes.
//
// Concurrency: Inspect may be called at any time. A Dir is used by one goroutine at a time.
package datadir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Dir is a data directory that this process alone has open.
type Dir struct {
	path  string
	lock  *os.File
	id    *Identity
	loose os.FileMode
	// directories that got an entry when Open created what was missing; Create syncs them
	grown []string
}

// Open creates the directory when it is not there, locks it and looks at it. Its errors say what is
// wrong with the directory, by name, and what to do; where a directory is refused nothing has been
// written.
func Open(path string) (*Dir, error) {
	if _, err := Inspect(path); err != nil {
		return nil, err
	}
	d := &Dir{path: path, grown: missingBelow(path)}
	if err := os.MkdirAll(d.MemberDir(), 0o700); err != nil {
		return nil, fmt.Errorf("data directory %s: create: %w", path, cause(err))
	}
	if err := d.acquire(); err != nil {
		return nil, err
	}
	// Only now nobody else can be about to make it theirs.
	id, err := inspect(path)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	d.id = id
	if id != nil {
		if err := d.settle(); err != nil {
			return nil, errors.Join(err, d.Close())
		}
	}
	if info, err := os.Stat(d.MemberDir()); err == nil && info.Mode().Perm()&0o077 != 0 {
		d.loose = info.Mode().Perm()
	}
	return d, nil
}

// missingBelow names the directories in which a part of the path has yet to be made.
func missingBelow(path string) (parents []string) {
	for dir := filepath.Clean(path); ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			return parents
		}
		parents = append(parents, filepath.Dir(dir))
	}
}

// Path is the directory as it was named.
func (d *Dir) Path() string { return d.path }

// MemberDir is the directory that holds all of the member.
func (d *Dir) MemberDir() string { return filepath.Join(d.path, memberName) }

// LogDir is where the log store is.
func (d *Dir) LogDir() string { return filepath.Join(d.path, memberName, logName) }

// StateDir is where the state store is.
func (d *Dir) StateDir() string { return filepath.Join(d.path, memberName, stateName) }

// Identity is the member that lives in the directory, or nil while none does.
func (d *Dir) Identity() *Identity { return d.id }

// LoosePermissions are those of the member's directory when others than its owner have any, and
// otherwise 0.
func (d *Dir) LoosePermissions() os.FileMode { return d.loose }

// acquire takes the lock. The kernel lets go of it when the process ends, however it ends.
func (d *Dir) acquire() error {
	f, err := os.OpenFile(filepath.Join(d.MemberDir(), lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("data directory %s: open its lock: %w", d.path, cause(err))
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("data directory %s: lock: %w", d.path, err)
		}
		return &InUseError{Path: d.path, Holder: holder(f)}
	}
	d.lock = f
	// Who holds it is for the error above only: when it cannot be written, the lock holds all the
	// same.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return nil
}

// InUseError says that another process has the directory open.
type InUseError struct {
	Path   string
	Holder string // as far as it is known: "process 7"
}

func (e *InUseError) Error() string {
	return fmt.Sprintf("data directory %s: is in use by %s: stop that or give another --data-dir", e.Path, e.Holder)
}

func holder(f *os.File) string {
	text, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return "another process"
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 0 {
		return "another process"
	}
	return fmt.Sprintf("process %d", pid)
}

// Nursery returns an empty directory in which the stores log and state of a new member are to be
// made, before Create. What an earlier attempt left there is removed: no member ever ran on it.
func (d *Dir) Nursery() (string, error) {
	path := filepath.Join(d.MemberDir(), nurseName)
	if err := errors.Join(os.RemoveAll(path), os.Mkdir(path, 0o700)); err != nil {
		return "", fmt.Errorf("data directory %s: make room for the stores: %w", d.path, cause(err))
	}
	return path, nil
}

// settle moves the stores of a member that was just created to their places. It goes on where a
// crash stopped it.
func (d *Dir) settle() error {
	nursery := filepath.Join(d.MemberDir(), nurseName)
	if _, err := os.Lstat(nursery); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, name := range []string{logName, stateName} {
		err := os.Rename(filepath.Join(nursery, name), filepath.Join(d.MemberDir(), name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("data directory %s: move the new %s: %w", d.path, name, cause(err))
		}
	}
	if err := errors.Join(syncDir(d.MemberDir()), os.RemoveAll(nursery)); err != nil {
		return fmt.Errorf("data directory %s: settle the new stores: %w", d.path, err)
	}
	return nil
}

// Create makes the directory that of a new member, whose stores are in the Nursery, and moves them
// to LogDir and StateDir. It is durable when Create returns. It is an error to create a member
// where one lives.
func (d *Dir) Create(id Identity) error {
	if d.id != nil {
		return fmt.Errorf("data directory %s: holds member %x already", d.path, d.id.MemberID)
	}
	text := id.encode()
	whole, err := decode(text)
	if err != nil {
		return fmt.Errorf("data directory %s: identity %+v: %w", d.path, id, err)
	}
	if err := d.writeFormat(text); err != nil {
		return fmt.Errorf("data directory %s: write %s: %w", d.path, formatName, err)
	}
	d.id = &whole
	return d.settle()
}

func (d *Dir) writeFormat(text []byte) error {
	made := filepath.Join(d.MemberDir(), newFormat)
	f, err := os.OpenFile(made, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(made, filepath.Join(d.MemberDir(), formatName)); err != nil {
		return err
	}
	// The file's name, and those of the directories above it that Open made, are durable only when
	// the directories that hold them are synced.
	for _, dir := range append([]string{d.MemberDir(), d.path}, d.grown...) {
		if err := syncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Close lets go of the lock. The file stays: to remove it would let two processes lock two files of
// one name.
func (d *Dir) Close() error {
	return d.lock.Close()
}
