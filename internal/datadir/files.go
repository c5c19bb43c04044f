package datadir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// Files is the file system below a data directory. Errors are those of package os.
type Files interface {
	ReadDir(path string) (names []string, err error)
	ReadFile(path string) ([]byte, error)
	// WriteFile creates or replaces a file that only its owner may read, and syncs it.
	WriteFile(path string, text []byte) error
	Exists(path string) (bool, error)
	MkdirAll(path string) error // with access for the owner alone
	RemoveAll(path string) error
	Rename(from, to string) error
	SyncDir(path string) error
}

// osFiles is the operating system's file system.
type osFiles struct{}

func (osFiles) ReadDir(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

func (osFiles) ReadFile(path string) ([]byte, error) { return os.ReadFile(path) }

func (osFiles) WriteFile(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(text); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (osFiles) Exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (osFiles) MkdirAll(path string) error   { return os.MkdirAll(path, 0o700) }
func (osFiles) RemoveAll(path string) error  { return os.RemoveAll(path) }
func (osFiles) Rename(from, to string) error { return os.Rename(from, to) }

func (osFiles) SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// missingBelow returns the directories of the path that do not exist yet.
func missingBelow(files Files, path string) (parents []string) {
	for dir := filepath.Clean(path); ; dir = filepath.Dir(dir) {
		if there, err := files.Exists(dir); err == nil && there || dir == filepath.Dir(dir) {
			return parents
		}
		parents = append(parents, filepath.Dir(dir))
	}
}
