package backup

import (
	"errors"
	"fmt"
	"os"

	"cairn/internal/datadir"
	"cairn/internal/machine"
	"cairn/internal/storage"
)

// Check verifies the state in a snapshot file, or in the data directory of a stopped member: every
// checksum, and the tables against each other.
func Check(path string) (found machine.Verified, err error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		if err := checkTables(path); err != nil {
			return found, err
		}
	}
	c, err := OpenContent(path)
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if found, err = c.s.machine.Verify(); err != nil {
		return found, err
	}
	return found, readAll(c.s.state)
}

// checkTables verifies the files of a member's state store.
func checkTables(path string) (err error) {
	if id, err := datadir.Inspect(path); err != nil || id == nil {
		return err // OpenContent reports that there is no member
	}
	dir, err := datadir.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if err := storage.VerifyTables(dir.StateDir()); err != nil {
		return fmt.Errorf("data directory %s: %w: restore a backup, or replace the member (etcdctl member replace)", path, err)
	}
	return nil
}

// readAll reads every record of a store, also values that are in files of their own.
func readAll(s *storage.Store) error {
	it := s.NewIter(nil, nil)
	for ok := it.First(); ok; ok = it.Next() {
		_ = it.Value()
	}
	return it.Close()
}
