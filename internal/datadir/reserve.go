package datadir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"cairn/internal/invariant"
)

// incompleteName is a file in the member's directory while a program makes a member from other
// data. It contains the operation, and is renamed to FORMAT when the member is complete.
const incompleteName = "INCOMPLETE"

// Operation is how a program makes a member from other data.
type Operation string

// The operations.
const (
	Import  Operation = "import"
	Restore Operation = "restore"
	Backup  Operation = "backup"
)

// IncompleteError reports a directory in which an operation was interrupted.
type IncompleteError struct {
	Path      string
	Operation Operation
}

func (e *IncompleteError) Error() string {
	article, again := "a", string(e.Operation)
	switch e.Operation {
	case Import:
		article = "an"
	case Backup:
		again = "back up"
	}
	return fmt.Sprintf("data directory %s: %s %s did not finish: remove %s and %s again", e.Path, article, e.Operation, e.Path, again)
}

// Reserve opens a directory without a member for an operation that makes one. Until Create, or
// Discard, the directory is marked, durably: no member can bootstrap in it, even if this process is
// killed.
func Reserve(path string, op Operation) (*Dir, error) {
	d, err := Open(path)
	if err != nil {
		return nil, err
	}
	if d.id != nil {
		return nil, errors.Join(d.holdsMember(), d.Close())
	}
	if err := d.reserve(op); err != nil {
		return nil, errors.Join(err, d.Discard())
	}
	return d, nil
}

func (d *Dir) reserve(op Operation) error {
	d.reserved = true
	err := d.files.WriteFile(filepath.Join(d.MemberDir(), incompleteName), []byte(op+"\n"))
	if err == nil {
		err = d.syncParents()
	}
	if err != nil {
		return fmt.Errorf("data directory %s: mark it as incomplete: %w", d.path, cause(err))
	}
	return nil
}

// Discard removes what was made since Reserve, and closes the directory. A directory that existed
// before remains, empty. It is for directories of Reserve only.
func (d *Dir) Discard() error {
	invariant.Check(d.reserved, "only a reserved directory may be discarded")
	if d.id != nil { // an error of Create after the rename
		if err := d.files.Rename(filepath.Join(d.MemberDir(), formatName), filepath.Join(d.MemberDir(), incompleteName)); err != nil {
			return errors.Join(err, d.Close())
		}
	}
	// The mark is removed after everything that it marks.
	var err error
	for _, name := range []string{newStores, logName, stateName, newFormat, incompleteName, ""} {
		err = errors.Join(err, d.files.RemoveAll(filepath.Join(d.MemberDir(), name)))
	}
	err = errors.Join(err, d.Close())
	if len(d.grown) == 0 || err != nil {
		return err
	}
	made := append([]string{d.path}, d.grown[:len(d.grown)-1]...)
	for _, dir := range made {
		// Fails if another program has put something there. Reserve works on the operating
		// system's file system only.
		if err := os.Remove(dir); err != nil {
			break
		}
	}
	return nil
}

// incomplete returns the error about a directory that is marked as incomplete.
func incomplete(files Files, path string) error {
	text, err := files.ReadFile(filepath.Join(path, memberName, incompleteName))
	op := Operation(strings.TrimSuffix(string(text), "\n"))
	if err != nil || op != Restore && op != Backup {
		op = Import // also if the process was killed before it wrote the text
	}
	return &IncompleteError{path, op}
}

// explainIncomplete replaces an IncompleteError if the operation is still in progress.
func explainIncomplete(path string, err error) error {
	if !errors.As(err, new(*IncompleteError)) {
		return err
	}
	lock, failed := os.Open(filepath.Join(path, memberName, lockName))
	if failed != nil {
		return err
	}
	defer lock.Close()
	if errors.Is(syscall.Flock(int(lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK) {
		return &InUseError{Path: path, Holder: holder(lock)}
	}
	return err
}
