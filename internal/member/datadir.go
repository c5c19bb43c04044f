package member

import (
	"errors"
	"fmt"
	"os"
)

// dirWatch detects that a directory of the member was removed, renamed or replaced while the member
// runs: writes to open files would still succeed, and be acknowledged, but be missing at the next
// start. It watches the member's directory and those of the two stores, following links.
type dirWatch struct {
	dirs []watchedDir // none when the stores are not in the operating system's files
}

type watchedDir struct {
	path string
	info os.FileInfo
}

// newDirWatch records the identity of the directories at some paths.
func newDirWatch(paths ...string) (w dirWatch, err error) {
	for _, path := range paths {
		info, statErr := os.Stat(path)
		err = errors.Join(err, statErr)
		w.dirs = append(w.dirs, watchedDir{path, info})
	}
	return w, err
}

// check returns an error when one of the directories no longer exists at its path.
func (w *dirWatch) check() error {
	for _, d := range w.dirs {
		info, err := os.Stat(d.path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return fmt.Errorf("the data directory is gone: %w", err)
		case err != nil:
			return fmt.Errorf("the data directory cannot be read: %w", err)
		case !os.SameFile(info, d.info):
			return fmt.Errorf("the data directory is gone: another one is at %s", d.path)
		}
	}
	return nil
}
