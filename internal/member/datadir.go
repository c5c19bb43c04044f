package member

import (
	"fmt"
	"os"
)

// dirWatch notices that a directory was removed or replaced while the member runs: open files would
// still take writes, and acknowledge what the next start does not find.
type dirWatch struct {
	path string
	info os.FileInfo // nil when the stores are not in the operating system's files
}

// newDirWatch remembers which directory is at a path.
func newDirWatch(path string) (dirWatch, error) {
	info, err := os.Stat(path)
	return dirWatch{path, info}, err
}

// check returns an error when the directory is no longer there.
func (w *dirWatch) check() error {
	if w.info == nil {
		return nil
	}
	info, err := os.Stat(w.path)
	switch {
	case err != nil:
		return fmt.Errorf("the data directory is gone: %w", err)
	case !os.SameFile(info, w.info):
		return fmt.Errorf("the data directory is gone: another one is at %s", w.path)
	}
	return nil
}
