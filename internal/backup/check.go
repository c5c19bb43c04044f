package backup

import (
	"errors"

	"cairn/internal/machine"
	"cairn/internal/storage"
)

// Check verifies the state in a snapshot file, or in the data directory of a stopped member: every
// checksum, and the tables against each other.
func Check(path string) (found machine.Verified, err error) {
	c, err := openContent(path, storage.Verify)
	if err != nil {
		return found, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if found, err = c.s.machine.Verify(); err != nil {
		return found, err
	}
	return found, readAll(c.s.state)
}

// readAll reads every record of a store, also values that are in files of their own.
func readAll(s *storage.Store) error {
	it := s.NewIter(nil, nil)
	for ok := it.First(); ok; ok = it.Next() {
		_ = it.Value()
	}
	return it.Close()
}
