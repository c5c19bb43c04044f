package storage

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// verifyCommits reports the loss of the manifest's last record, which cannot be distinguished from
// a torn one by its bytes: a complete sstable that the manifest does not list has commits that
// neither the store, whose last commit is given, nor the journal has.
func verifyCommits(dir string, last uint64, unlisted func(path string) bool) error {
	journaled, err := verifyJournal(dir, last > 0)
	if err != nil {
		return err
	}
	last = max(last, journaled)
	paths, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		if !unlisted(path) {
			continue
		}
		number, err := commitOf(path)
		if err != nil {
			return err
		}
		if number > last {
			return fmt.Errorf("%s: has commit %d, and is not listed; the listed files and the journal have commits up to %d: %w", path, number, last, ErrDamagedManifest)
		}
	}
	return nil
}

// journalUnit divides the size with which each file of a journal is created.
const journalUnit = 1 << 20

// verifyJournal returns the number of the last record in the journal in a directory. It reports the
// loss of records at its end, which looks like the end of a journal after a crash: a log store that
// has been used always has a file, and a crash does not shorten a file.
func verifyJournal(dir string, used bool) (last uint64, err error) {
	j := &journal{fs: OSFS, dir: dir}
	files, err := j.list()
	if err != nil {
		return 0, err
	}
	if used && len(files) == 0 {
		return 0, fmt.Errorf("%s: %w: the journal NNNNNN%s does not exist", dir, ErrDamagedLog, journalSuffix)
	}
	for i, f := range files {
		b, err := j.read(f)
		if err != nil {
			return 0, err
		}
		parse, _, end, err := f.parser(b)
		if err != nil {
			return 0, err
		}
		for r, ok := parse(b[min(end, len(b)):]); ok; r, ok = parse(b[end:]) {
			last, end = max(last, r.number), end+r.size
		}
		// A record of more than a file's size makes the file longer. A crash may leave the next
		// file empty, but not without the one before.
		long, next := len(b) > journalUnit && end == len(b), len(b) == 0 && len(files) > 1
		complete := len(b) > 0 && len(b)%journalUnit == 0
		if i == len(files)-1 && !f.v1 && !complete && !long && !next && reservesBlocks(dir) {
			return 0, fmt.Errorf("%s: %w: ends at byte %d, and was longer when it was created", f.path, ErrDamagedLog, len(b))
		}
	}
	return last, nil
}

// reservesBlocks reports whether the file system of a directory is known to create files with their
// full size (fallocate).
func reservesBlocks(dir string) bool {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return false
	}
	switch uint32(stat.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC, unix.OVERLAYFS_SUPER_MAGIC:
		return true
	}
	return false
}

// commitOf returns the number of the last commit of a log store in an sstable, or 0.
func commitOf(path string) (number uint64, err error) {
	defer pebblePanic(&err)
	f, err := vfs.Default.Open(path)
	if err != nil {
		return 0, err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return 0, errors.Join(err, f.Close())
	}
	r, err := sstable.NewReader(context.Background(), readable, (&pebble.Options{}).MakeReaderOptions())
	if err != nil {
		return 0, errors.Join(err, readable.Close())
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	it, err := r.NewIter(sstable.NoTransforms, journalKey, append(slices.Clone(journalKey), 0), sstable.AssertNoBlobHandles)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	found := it.First()
	if found == nil {
		return 0, nil
	}
	v, _, err := found.Value(nil)
	if err != nil {
		return 0, err
	}
	return journalNumber(v)
}
