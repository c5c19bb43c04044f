package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/blob"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A running store that reads a damaged table fails: OnFatal gets one line with the file, the place
// and the way out, and the read returns an error. Pebble reports most damage to its event listener
// (baseOptions); this file has the rest.

// blockPlace is the offset and the length of a block in pebble's errors.
var blockPlace = regexp.MustCompile(`block (\d+)/\d+`)

// fileNumber is the number of a file in pebble's errors about its blocks.
var fileNumber = regexp.MustCompile(`pebble: file (\d{6,})`)

// damagedFile returns the error about a damaged sstable or blob file. cause is pebble's.
func damagedFile(on FS, path string, cause error) error {
	info, err := on.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: does not exist, but is listed: %s", path, Advice)
	}
	text, _, _ := strings.Cut(cause.Error(), "\n")
	at := ""
	if place := blockPlace.FindStringSubmatch(text); place != nil {
		at = "the block at offset " + place[1]
	} else if err == nil {
		at = fmt.Sprintf("the footer before offset %d", info.Size())
	}
	return fmt.Errorf("%s: %s is damaged: %s: %s", path, at, text, Advice)
}

// damaged reports that pebble has found damage, and returns the error for the reader. path is the
// file according to pebble, which takes the sstable for it if the damage is in its blob file; ""
// means unknown.
func (d *disk) damaged(path string, cause error) error {
	if n := fileNumber.FindStringSubmatch(cause.Error()); n != nil {
		for _, suffix := range []string{".sst", ".blob"} {
			named := d.PathJoin(d.dir, n[1]+suffix)
			if _, err := d.Stat(named); err == nil {
				path = named
			}
		}
	}
	err := withAdvice(cause)
	if path != "" {
		err = damagedFile(d.FS, path, cause)
	}
	d.report(err)
	return err
}

// checkRead returns the error of a read. Pebble does not report the damage of blob files that
// reads find.
func (d *disk) checkRead(err error) error {
	if err == nil || !pebble.IsCorruptionError(err) {
		return err
	}
	path := ""
	if info := pebble.ExtractDataCorruptionInfo(err); info != nil {
		path = info.Path
	}
	return d.damaged(path, err)
}

// Open implements vfs.FS. A blob file that is missing or has a damaged footer is found here: pebble
// 2.1.7 panics when it finds that ("unknown metadata type").
func (d *disk) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.FS.Open(name, opts...)
	isBlob := strings.HasSuffix(name, ".blob")
	switch {
	case isBlob && errors.Is(err, fs.ErrNotExist):
		return nil, d.damaged(name, err)
	case err != nil || !isBlob && !strings.HasSuffix(name, ".sst"):
		return f, err
	}
	table := &tableFile{File: f, disk: d, name: name}
	if isBlob {
		// Pebble meets another error, of the disk, itself.
		if err := checkFooter(table); pebble.IsCorruptionError(err) {
			// Pebble must not take it for its own error, so it is not wrapped.
			return nil, errors.Join(d.damaged(name, err), f.Close())
		}
	}
	return table, nil
}

// checkFooter reads the footer of a blob file.
func checkFooter(f vfs.File) error {
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return err
	}
	options := blob.FileReaderOptions{ReaderOptions: (&pebble.Options{}).MakeReaderOptions().ReaderOptions}
	// It holds nothing but the file, which the caller closes.
	_, err = blob.NewFileReader(context.Background(), readable, options)
	return err
}

// tableFile is an sstable or a blob file that is read.
type tableFile struct {
	vfs.File
	disk *disk
	name string
}

// ReadAt implements io.ReaderAt. Pebble reads only where there are bytes, unless the file has been
// truncated since it was opened. An io.EOF could be taken for the end of what is read.
func (f *tableFile) ReadAt(p []byte, off int64) (n int, err error) {
	n, err = f.File.ReadAt(p, off)
	if n < len(p) && errors.Is(err, io.EOF) {
		err = fmt.Errorf("%s: ends at offset %d, not after %d: %s", f.name, off+int64(n), off+int64(len(p)), Advice)
		f.disk.report(err)
	}
	return n, err
}
