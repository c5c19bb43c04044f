package backup

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"cairn/internal/datadir"
	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/internal/raftlog"
	"cairn/internal/snapshot"
	"cairn/internal/storage"
)

// The position in the log at which a cluster begins; all initial members use the same one.
const initialIndex, initialTerm = 1, 1

// Target describes the data directory to be made, and its cluster.
type Target struct {
	Dir      string // must not exist, or be empty
	Identity datadir.Identity
	Members  []membership.Member

	BumpRevision  int64 // see machine.Restoration
	MarkCompacted bool

	reserved *reservation // nil before Reserve
}

// reservation is a data directory that is marked as incomplete.
type reservation struct {
	dir      *datadir.Dir
	complete bool
}

// Reserve creates the data directory and marks it as incomplete, so that no member bootstraps in it
// if the process is killed. The functions that make a data directory reserve it themselves, if it
// is not reserved yet; a caller that verifies its input first reserves it before. release closes
// the directory, and removes everything again unless the directory is complete.
func (t *Target) Reserve(op datadir.Operation) (release func() error, err error) {
	if err := checkEmpty(t.Dir); err != nil {
		return nil, err
	}
	dir, err := datadir.Reserve(t.Dir, op)
	if err != nil {
		return nil, err
	}
	r := &reservation{dir: dir}
	t.reserved = r
	return func() error {
		if r.complete {
			return dir.Close()
		}
		return dir.Discard()
	}, nil
}

// Restore makes a member's data directory from a snapshot file. With check it verifies the SHA-256
// first.
func Restore(path string, check bool, t Target) error {
	return t.make(datadir.Restore, func(scratch string) (err error) {
		f, err := Open(path, check)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		return t.fill(scratch, f.Stream, func(err error) error { return explain(path, err) })
	})
}

// fill makes the stores of the data directory from a stream.
func (t *Target) fill(scratch string, in *snapshot.Stream, explain func(error) error) error {
	r := machine.Restoration{
		Index: initialIndex, Term: initialTerm, Members: t.Members, BumpRevision: t.BumpRevision, MarkCompacted: t.MarkCompacted,
	}
	if err := makeState(filepath.Join(scratch, "state"), filepath.Join(scratch, "tables"), in, r); err != nil {
		return explain(err)
	}
	return makeLog(filepath.Join(scratch, "log"))
}

// make makes the data directory: fill makes the stores in the directory scratch. On an error
// everything is removed again.
func (t *Target) make(op datadir.Operation, fill func(scratch string) error) (err error) {
	if t.reserved == nil {
		release, failed := t.Reserve(op)
		if failed != nil {
			return failed
		}
		defer func() { err = errors.Join(err, release()) }()
	}
	dir := t.reserved.dir
	scratch, err := dir.NewStores()
	if err != nil {
		return err
	}
	if err := fill(scratch); err != nil {
		return err
	}
	if err := dir.Create(t.Identity); err != nil {
		return err
	}
	t.reserved.complete = true
	return nil
}

// checkEmpty returns an error unless path is absent or an empty directory.
func checkEmpty(path string) error {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("data-dir %q not empty or could not be read: %w", path, err)
	case len(entries) == 0:
		return nil
	}
	if _, err := datadir.Inspect(path); errors.As(err, new(*datadir.IncompleteError)) || errors.As(err, new(*datadir.InUseError)) {
		return err
	}
	return fmt.Errorf("data-dir %q not empty or could not be read: it has %s in it; give a directory that does not exist yet", path, entries[0].Name())
}

func makeState(dir, scratch string, in *snapshot.Stream, r machine.Restoration) error {
	return fillState(dir, func(state *storage.Store) error {
		tables, err := state.NewTables(scratch)
		if err != nil {
			return err
		}
		tables.WriteInBackground()
		if err := machine.Restore(tables, in, r); err != nil {
			return errors.Join(err, tables.Discard())
		}
		return state.Replace(tables)
	})
}

func makeLog(dir string) (err error) {
	log, err := storage.OpenLog(dir, offline)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	return raftlog.Initialize(log, initialIndex, initialTerm)
}

// Save copies r into a new file. The file gets its name when it is complete and synced; until then
// it is called NAME.part. check reads it again, and reports whether it can be restored.
func Save(path string, r io.Reader) (size int64, err error) {
	part := path + ".part"
	defer func() {
		if err != nil {
			err = errors.Join(err, remove(part))
		}
	}()
	f, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return 0, fmt.Errorf("save snapshot: %w", err)
	}
	size, err = io.Copy(f, r)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err == nil {
		err = snapshot.CheckFile(f, size)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, fmt.Errorf("save snapshot: %w", err)
	}
	if err := os.Rename(part, path); err != nil {
		return 0, fmt.Errorf("save snapshot: %w", err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return 0, fmt.Errorf("save snapshot: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return 0, fmt.Errorf("save snapshot: %w", err)
	}
	return size, nil
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
