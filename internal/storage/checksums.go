package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// VerifyTables reads every block of the sstables in the directory of a store that no process has
// open. It returns an error with the file and the offset of the first damage. Reading the records
// of a store is not enough: it skips filters and blocks that newer ones hide.
func VerifyTables(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil {
		return err
	}
	options := (&pebble.Options{}).MakeReaderOptions()
	for _, file := range files {
		if err := verifyTable(file, options); err != nil {
			return err
		}
	}
	return nil
}

// blockPlace is the offset and the length of a block in pebble's errors.
var blockPlace = regexp.MustCompile(`block (\d+)/\d+`)

func verifyTable(file string, options sstable.ReaderOptions) (err error) {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	f, err := vfs.Default.Open(file)
	if err != nil {
		return err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	at := fmt.Sprintf("the footer before offset %d", info.Size())
	r, err := sstable.NewReader(context.Background(), readable, options)
	if err != nil {
		err = errors.Join(err, readable.Close())
	} else {
		err = errors.Join(r.ValidateBlockChecksums(), r.Close())
	}
	if err == nil {
		return nil
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	if place := blockPlace.FindStringSubmatch(text); place != nil {
		at = "the block at offset " + place[1]
	}
	return fmt.Errorf("%s: %s is damaged: %s", file, at, text)
}
