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

const (
	memberName = "member"
	lockName   = "LOCK"
	formatName = "FORMAT"
	newFormat  = "FORMAT.new"
	nurseName  = "new"
	logName    = "log"
	stateName  = "state"
)

// Inspect looks at a data directory without changing anything. It returns the identity of the
// member that lives there, or nil when a new one may be created, and otherwise an error that says
// why the directory cannot be used. What it says may be out of date at once: Open looks again once
// it holds the lock.
func Inspect(path string) (*Identity, error) {
	id, err := inspect(path)
	if err != nil {
		return nil, err
	}
	if err := checkWritable(path); err != nil {
		return nil, err
	}
	return id, nil
}

func inspect(path string) (*Identity, error) {
	if _, err := list(path); err != nil {
		return nil, err
	}
	member := filepath.Join(path, memberName)
	entries, err := list(member)
	if err != nil {
		return nil, err
	}
	_, err = os.Lstat(filepath.Join(path, "proxy"))
	if err == nil || slices.Contains(entries, "snap") || slices.Contains(entries, "wal") {
		return nil, fmt.Errorf("data directory %s: was written by etcd itself, and this version of cairn has no importer: "+
			"start cairn with an empty --data-dir, keep etcd running on the old one and copy the keys over, for example with `etcdctl make-mirror` (v3 keys only)", path)
	}
	if slices.Contains(entries, formatName) {
		return readFormat(path)
	}
	for _, e := range entries {
		if e != lockName && e != nurseName && !strings.HasPrefix(e, formatName+".") {
			return nil, fmt.Errorf("data directory %s: has %s but no %s, so it was not written by cairn or is damaged: give another --data-dir, or restore a backup",
				path, filepath.Join(memberName, e), filepath.Join(memberName, formatName))
		}
	}
	return nil, nil
}

// list names what is in a directory; one that is not there is empty.
func list(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, syscall.ENOTDIR):
		return nil, fmt.Errorf("data directory %s: is not a directory: give another --data-dir", dir)
	case err != nil:
		return nil, fmt.Errorf("data directory %s: read: %w: give another --data-dir or its owner's rights", dir, cause(err))
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func readFormat(path string) (*Identity, error) {
	name := filepath.Join(memberName, formatName)
	text, err := os.ReadFile(filepath.Join(path, name))
	if err != nil {
		return nil, fmt.Errorf("data directory %s: read %s: %w", path, name, cause(err))
	}
	id, err := decode(text)
	if newer := (newerFormatError{}); errors.As(err, &newer) {
		return nil, fmt.Errorf("data directory %s: %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %s is damaged: %w: restore a backup", path, name, err)
	}
	return &id, nil
}

const accessWX = 0x2 | 0x1 // W_OK and X_OK of access(2)

// checkWritable asks the kernel about the nearest part of the path that exists. It cannot see
// everything (a full disk, a quota), but what it sees it sees without writing.
func checkWritable(path string) error {
	for _, dir := range []string{filepath.Join(path, memberName), path} {
		if err := syscall.Access(dir, accessWX); err == nil || !errors.Is(err, syscall.ENOENT) {
			return notWritable(path, dir, err)
		}
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("data directory %s: %w", path, err)
	}
	for dir := filepath.Dir(absolute); ; dir = filepath.Dir(dir) {
		if err := syscall.Access(dir, accessWX); err == nil || !errors.Is(err, syscall.ENOENT) || dir == filepath.Dir(dir) {
			return notWritable(path, dir, err)
		}
	}
}

func notWritable(path, dir string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("data directory %s: %s cannot be written to: %w: give another --data-dir or the right to write there", path, dir, err)
}

// cause is the error below a path error, whose path our own errors name already.
func cause(err error) error {
	if at := new(fs.PathError); errors.As(err, &at) {
		return at.Err
	}
	return err
}
