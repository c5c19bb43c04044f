package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/blob"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/sstable/colblk"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Verify verifies the files of a store that no process has open: the manifest, and every block of
// the sstables and blob files. It returns an error with the file and the offset of the first
// damage. Reading the records of a store is not enough: it skips filters, and blocks that newer
// ones hide.
//
// linked is a directory with links to the files in dir. Verify opens it, to learn which files the
// store needs: others may be the incomplete remains of a crash.
func Verify(dir, linked string) error {
	if err := verifyManifest(OSFS, dir); err != nil {
		return err
	}
	damaged := map[string]error{} // by name
	var first error
	for _, pattern := range []string{"*.sst", "*.blob"} {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, path := range paths {
			if err := verifyFile(path); err != nil {
				damaged[filepath.Base(path)] = err
				first = cmp.Or(first, err)
			}
		}
	}
	needed, last, err := neededFiles(linked)
	if err != nil {
		return cmp.Or(first, err)
	}
	for _, name := range needed {
		if err := damaged[name]; err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(dir, name)); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: does not exist, but is listed: %s", filepath.Join(dir, name), Advice)
		} else if err != nil {
			return err
		}
	}
	return verifyCommits(dir, last, func(path string) bool {
		name := filepath.Base(path)
		return damaged[name] == nil && !slices.Contains(needed, name)
	})
}

// neededFiles opens the store in dir, and returns the names of its sstables and blob files, and the
// number of its last commit if it is a log store.
func neededFiles(dir string) (names []string, last uint64, err error) {
	o := baseOptions(Options{Still: true}, DefaultLogCacheBytes, DefaultLogMemTableBytes)
	o.DisableWAL = true
	s, err := open(dir, o, true)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, s.closeDB()) }()
	levels, err := s.db.SSTables()
	if err != nil {
		return nil, 0, err
	}
	for _, table := range slices.Concat(levels...) {
		names = append(names, fmt.Sprintf("%06d.sst", uint64(table.BackingSSTNum)))
		for _, id := range table.GetBlobReferenceFiles() {
			// The ID is the number of the file, since blob files are not rewritten
			// (separateHistory).
			names = append(names, fmt.Sprintf("%06d.blob", uint64(id)))
		}
	}
	last, err = s.journaled()
	return names, last, err
}

// verifyFile verifies an sstable or a blob file.
func verifyFile(path string) error {
	f, err := vfs.Default.Open(path)
	if err != nil {
		return err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	verify := verifyTable
	if filepath.Ext(path) == ".blob" {
		verify = verifyBlobs
	}
	if err = verify(readable); err == nil {
		return nil
	}
	return damagedFile(vfs.Default, path, err)
}

// verifyTable reads every block of an sstable, and closes it.
func verifyTable(readable objstorage.Readable) (err error) {
	defer pebblePanic(&err)
	r, err := sstable.NewReader(context.Background(), readable, (&pebble.Options{}).MakeReaderOptions())
	if err != nil {
		return errors.Join(err, readable.Close())
	}
	return errors.Join(r.ValidateBlockChecksums(), r.Close())
}

// The columns of a blob file's index block, in pebble's documentation of package blob: it begins
// with the number of virtual blocks, and column 1 has the offsets of all blocks and of their end.
const (
	blobIndexHeader  = 4
	blobIndexOffsets = 1
)

// verifyBlobs reads every block of a blob file, and closes it.
func verifyBlobs(readable objstorage.Readable) (err error) {
	defer pebblePanic(&err)
	options := blob.FileReaderOptions{ReaderOptions: (&pebble.Options{}).MakeReaderOptions().ReaderOptions}
	r, err := blob.NewFileReader(context.Background(), readable, options)
	if err != nil {
		return errors.Join(err, readable.Close())
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	ctx := context.Background()
	index, err := r.ReadIndexBlock(ctx, block.NoReadEnv, nil)
	if err != nil {
		return err
	}
	defer index.Release()
	var columns colblk.BlockDecoder
	columns.Init(index.BlockData(), blobIndexHeader)
	offsets := colblk.DecodeColumn(&columns, blobIndexOffsets, columns.Rows()+1, colblk.DataTypeUint, colblk.DecodeUnsafeUints)
	for i := range columns.Rows() {
		from, to := offsets.At(i), offsets.At(i+1)
		values, err := r.ReadValueBlock(ctx, block.NoReadEnv, nil, block.Handle{Offset: from, Length: to - from - block.TrailerLen})
		if err != nil {
			return err
		}
		values.Release()
	}
	return nil
}
