package datadir

import (
	"errors"
	"fmt"
	"io/fs"
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
	newStores  = "new"
	logName    = "log"
	stateName  = "state"
)

// Inspect reads a data directory without changing anything. It returns the identity of its member,
// or nil if a new one may be created, and otherwise the reason why the directory cannot be used.
// The result may be outdated at once: Open inspects again under the lock.
func Inspect(path string) (*Identity, error) {
	id, err := inspect(osFiles{}, path)
	if err != nil {
		return nil, explainIncomplete(path, err)
	}
	if err := checkWritable(path); err != nil {
		return nil, err
	}
	return id, nil
}

func inspect(files Files, path string) (*Identity, error) {
	if _, err := list(files, path); err != nil {
		return nil, err
	}
	member := filepath.Join(path, memberName)
	entries, err := list(files, member)
	if err != nil {
		return nil, err
	}
	if foreign := entriesOfEtcd(files, path, entries); len(foreign) > 0 {
		if slices.Contains(entries, formatName) {
			return nil, fmt.Errorf("data directory %s: is cairn's, but etcd was started in it, too, and has its own keys there: to continue with cairn's keys, "+
				"move %s out of the directory", path, strings.Join(foreign, " and "))
		}
		return nil, fmt.Errorf("data directory %s: was written by etcd itself: take a snapshot of etcd (`etcdctl snapshot save FILE`), "+
			"make a data directory of it (`etcdutl import FILE --data-dir DIR`), and start cairn with that", path)
	}
	if slices.Contains(entries, formatName) {
		return readFormat(files, path)
	}
	if slices.Contains(entries, incompleteName) {
		return nil, incomplete(files, path)
	}
	for _, e := range entries {
		if e != lockName && e != newStores && !strings.HasPrefix(e, formatName+".") {
			return nil, fmt.Errorf("data directory %s: has %s but no %s, so it was not written by cairn or is damaged: give another --data-dir, or restore a backup",
				path, filepath.Join(memberName, e), filepath.Join(memberName, formatName))
		}
	}
	return nil, nil
}

// entriesOfEtcd returns the entries of a data directory that etcd writes and cairn does not;
// inMember are the names in its directory member.
func entriesOfEtcd(files Files, path string, inMember []string) (found []string) {
	for _, name := range []string{"snap", "wal"} {
		if slices.Contains(inMember, name) {
			found = append(found, filepath.Join(memberName, name))
		}
	}
	const proxyName = "proxy"
	if there, err := files.Exists(filepath.Join(path, proxyName)); err == nil && there {
		found = append(found, proxyName)
	}
	return found
}

// CheckNotCairns returns an error if a directory that the caller wants to read as etcd's is a data
// directory of cairn.
func CheckNotCairns(path string) error {
	files := osFiles{}
	ours := false
	for _, name := range []string{formatName, incompleteName} {
		there, err := files.Exists(filepath.Join(path, memberName, name))
		ours = ours || err == nil && there
	}
	if !ours {
		return nil // etcd's, or none: the reader of etcd's files reports what is missing
	}
	if _, err := inspect(files, path); err != nil {
		return err
	}
	return fmt.Errorf("data directory %s: was written by cairn, not by etcd: start cairn with it, or copy it with `etcdctl backup`", path)
}

// list returns the names of a directory's entries; a missing directory has none.
func list(files Files, dir string) ([]string, error) {
	names, err := files.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, syscall.ENOTDIR):
		return nil, fmt.Errorf("data directory %s: is not a directory: give another --data-dir", dir)
	case err != nil:
		return nil, fmt.Errorf("data directory %s: read: %w: give another --data-dir or its owner's rights", dir, cause(err))
	}
	return names, nil
}

func readFormat(files Files, path string) (*Identity, error) {
	name := filepath.Join(memberName, formatName)
	text, err := files.ReadFile(filepath.Join(path, name))
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

// checkWritable checks access to the nearest existing part of the path. It writes nothing, so it
// does not detect a full disk or an exhausted quota.
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

// cause returns the error inside a path error, whose path the caller's error has already.
func cause(err error) error {
	if at := new(fs.PathError); errors.As(err, &at) {
		return at.Err
	}
	return err
}
