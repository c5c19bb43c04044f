// Package datadir owns the layout of a member's data directory (docs/formats/data-directory.md):
// which directories are accepted and which refused, the lock that keeps a second process out, and
// the file FORMAT that identifies the member.
//
// It does not own the stores below it: package storage does, and gets their paths.
//
// Invariants: nothing is written to a directory that is refused; at most one process has a
// directory open (TestSecondProcess); FORMAT is either missing or complete, and never changes
// (TestLife, TestRemnants); the stores of a member are durable before FORMAT exists; a directory in
// which an import was interrupted is never taken for an empty one (TestInterruptedReservation).
//
// Concurrency: Inspect may be called at any time. A Dir is used by one goroutine at a time.
package datadir

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Dir is a data directory that this process has locked.
type Dir struct {
	files Files
	path  string
	lock  *os.File // nil on a file system other than the operating system's
	// logLock is the lock of the log's directory if that is elsewhere (--wal-dir), and otherwise
	// nil
	logLock *os.File
	id      *Identity
	loose   os.FileMode
	// directories that got an entry when Open created missing ones, from the deepest one on; Create
	// syncs them
	grown    []string
	reserved bool // INCOMPLETE exists
}

// Open creates the directory if it is missing, locks it and inspects it. Its errors name the fault
// and what to do; nothing is written to a directory that is refused.
func Open(path string) (*Dir, error) {
	if _, err := Inspect(path); err != nil {
		return nil, err
	}
	d := &Dir{files: osFiles{}, path: path}
	if err := d.make(); err != nil {
		return nil, err
	}
	if err := d.acquire(); err != nil {
		return nil, err
	}
	if err := d.load(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if info, err := os.Stat(d.MemberDir()); err == nil && info.Mode().Perm()&0o077 != 0 {
		d.loose = info.Mode().Perm()
	}
	return d, nil
}

// OpenOn is Open on another file system, without a lock: the caller must ensure exclusive use.
func OpenOn(files Files, path string) (*Dir, error) {
	d := &Dir{files: files, path: path}
	if _, err := inspect(files, path); err != nil {
		return nil, err
	}
	if err := d.make(); err != nil {
		return nil, err
	}
	return d, d.load()
}

func (d *Dir) make() error {
	d.grown = missingBelow(d.files, d.path)
	if err := d.files.MkdirAll(d.MemberDir()); err != nil {
		return fmt.Errorf("data directory %s: create: %w", d.path, cause(err))
	}
	return nil
}

// load reads the identity, under the lock.
func (d *Dir) load() (err error) {
	if d.id, err = inspect(d.files, d.path); err != nil || d.id == nil {
		return err
	}
	return d.placeStores()
}

// Path returns the directory as the caller named it.
func (d *Dir) Path() string { return d.path }

// MemberDir returns the directory that holds all of the member.
func (d *Dir) MemberDir() string { return filepath.Join(d.path, memberName) }

// LogDir returns the directory of the log store.
func (d *Dir) LogDir() string { return filepath.Join(d.path, memberName, logName) }

// StateDir returns the directory of the state store.
func (d *Dir) StateDir() string { return filepath.Join(d.path, memberName, stateName) }

// Identity returns the identity of the member in the directory, or nil if there is none.
func (d *Dir) Identity() *Identity { return d.id }

// LoosePermissions returns the permissions of the member's directory if users other than its owner
// have any, and otherwise 0.
func (d *Dir) LoosePermissions() os.FileMode { return d.loose }

// acquire takes the lock. The kernel releases it when the process ends, however it ends.
func (d *Dir) acquire() (err error) {
	d.lock, err = lockFile(filepath.Join(d.MemberDir(), lockName))
	if held := new(heldError); errors.As(err, &held) {
		return &InUseError{Path: d.path, Holder: held.holder}
	}
	if err != nil {
		return fmt.Errorf("data directory %s: lock: %w", d.path, cause(err))
	}
	return nil
}

// heldError reports that another process holds a lock.
type heldError struct{ holder string }

func (e *heldError) Error() string { return "is locked by " + e.holder }

// lockFile creates a file if it is missing, and locks it.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, err
		}
		return nil, &heldError{holder(f)}
	}
	// The process ID is for heldError only: the lock holds even if it cannot be written.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return f, nil
}

// InUseError reports that another process has the directory open.
type InUseError struct {
	Path   string
	Holder string // if known: "process 7"
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

// NewStores returns an empty directory for the stores log and state of a new member, before Create.
// It removes stores left by an earlier attempt: no member ever ran on them.
func (d *Dir) NewStores() (string, error) {
	path := filepath.Join(d.MemberDir(), newStores)
	if err := errors.Join(d.files.RemoveAll(path), d.files.MkdirAll(path)); err != nil {
		return "", fmt.Errorf("data directory %s: make room for the stores: %w", d.path, cause(err))
	}
	return path, nil
}

// placeStores moves the stores of a new member to their places. It continues where a crash
// interrupted it.
func (d *Dir) placeStores() error {
	from := filepath.Join(d.MemberDir(), newStores)
	if there, err := d.files.Exists(from); err == nil && !there {
		return nil
	}
	for _, name := range []string{logName, stateName} {
		made := filepath.Join(from, name)
		there, err := d.files.Exists(made)
		if err == nil && there {
			err = d.files.Rename(made, filepath.Join(d.MemberDir(), name))
		}
		if err != nil {
			return fmt.Errorf("data directory %s: move the new %s: %w", d.path, name, cause(err))
		}
	}
	for _, dir := range []string{d.MemberDir(), from} {
		if err := d.files.SyncDir(dir); err != nil {
			return fmt.Errorf("data directory %s: place the new stores: %w", d.path, err)
		}
	}
	if err := d.files.RemoveAll(from); err != nil {
		return fmt.Errorf("data directory %s: place the new stores: %w", d.path, err)
	}
	return nil
}

// Create makes the directory that of a new member, whose stores are in NewStores, and moves them to
// LogDir and StateDir. The member is durable when Create returns. It is an error if the directory
// has a member.
func (d *Dir) Create(id Identity) error {
	if d.id != nil {
		return d.holdsMember()
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
	return d.placeStores()
}

func (d *Dir) holdsMember() error {
	return fmt.Errorf("data directory %s: holds member %x already", d.path, d.id.MemberID)
}

func (d *Dir) writeFormat(text []byte) error {
	made := filepath.Join(d.MemberDir(), newFormat)
	if d.reserved { // the rename removes the mark and completes the member in one step
		made = filepath.Join(d.MemberDir(), incompleteName)
	}
	if err := d.files.WriteFile(made, text); err != nil {
		return err
	}
	if err := d.syncParents(); err != nil {
		return err
	}
	if err := d.files.Rename(made, filepath.Join(d.MemberDir(), formatName)); err != nil {
		return err
	}
	return d.files.SyncDir(d.MemberDir())
}

// syncParents syncs the directories that have entries of this one: entries are durable only after
// their directories have been synced. Those of the stores, and of the directories that Open made,
// must be durable before FORMAT exists.
func (d *Dir) syncParents() error {
	for _, dir := range append([]string{d.MemberDir(), d.path}, d.grown...) {
		if err := d.files.SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// Close releases the locks. It does not remove the lock files: otherwise two processes could lock
// two files of the same name.
func (d *Dir) Close() (err error) {
	for _, lock := range []*os.File{d.lock, d.logLock} {
		if lock != nil {
			err = errors.Join(err, lock.Close())
		}
	}
	return err
}
