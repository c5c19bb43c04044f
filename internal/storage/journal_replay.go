package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// journalFile is a complete file, and the number of its last record.
type journalFile struct {
	number uint64
	path   string
	v1     bool // of the first format
	last   uint64
}

// openJournal commits to the store the records that it does not have, and starts a new file.
func openJournal(s *Store, dir string, size int64) (*journal, error) {
	j := &journal{fs: s.options.FS, dir: dir, size: size}
	files, err := j.list()
	if err != nil {
		return nil, err
	}
	if j.last, err = s.journaled(); err != nil {
		return nil, err
	}
	if err := j.replay(s, files); err != nil {
		return nil, err
	}
	if err := s.Flush(); err != nil {
		return nil, fmt.Errorf("flush: %w", err)
	}
	// The next file exists before the others are removed: a store without one has lost it.
	for _, f := range files {
		j.number = f.number
	}
	if err := j.start(); err != nil {
		return nil, err
	}
	for _, f := range files {
		if err := j.fs.Remove(f.path); err != nil {
			return nil, errors.Join(err, j.file.Close())
		}
	}
	return j, nil
}

// JournalEnd returns where the records of a log store's journal ended when the store was opened, as
// "FILE ends at byte N", or "" if it had no files.
func (s *Store) JournalEnd() string {
	if s.journal == nil {
		return ""
	}
	return s.journal.end
}

// journaled returns the number of the store's last commit.
func (s *Store) journaled() (uint64, error) {
	v, err := s.Get(journalKey, nil)
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return journalNumber(v)
}

func journalNumber(v []byte) (uint64, error) {
	number, n := binary.Uvarint(v)
	if n <= 0 {
		return 0, fmt.Errorf("the number of the last commit cannot be read: %x", v)
	}
	return number, nil
}

// list returns the files, sorted by number.
func (j *journal) list() (files []journalFile, err error) {
	names, err := j.fs.List(j.dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if filepath.Ext(name) != journalSuffixV1 {
			continue
		}
		number, v2 := strings.CutSuffix(name, journalSuffix)
		f := journalFile{path: j.fs.PathJoin(j.dir, name), v1: !v2}
		f.number, err = strconv.ParseUint(strings.TrimSuffix(number, journalSuffixV1), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("unexpected file %s: want NNNNNN%s", f.path, journalSuffix)
		}
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b journalFile) int {
		if a.number < b.number {
			return -1
		}
		return 1
	})
	return files, nil
}

// replay commits to the store the records of files that it does not have. The end of the last file
// may be torn: bytes that were being written and were not synced. A member that continued without
// entries that it has acknowledged could lose them for the whole cluster, so any other fault is
// ErrDamagedLog.
func (j *journal) replay(s *Store, files []journalFile) error {
	before := ""
	for _, f := range files {
		b, err := j.read(f)
		if err != nil {
			return err
		}
		parse, beyond, end, err := f.parser(b)
		if err != nil {
			return err
		}
		for r, ok := parse(b[end:]); ok; r, ok = parse(b[end:]) {
			if r.number > j.last+1 {
				// The previous file was synced before this one was started.
				if before == "" {
					before = f.path
				}
				return fmt.Errorf("%s: %w: record %d follows record %d", before, ErrDamagedLog, r.number, j.last)
			}
			if err := s.redo(r, &j.last); err != nil {
				return fmt.Errorf("%s: record %d: %w", f.path, r.number, err)
			}
			end += r.size
		}
		if beyond(end) {
			return fmt.Errorf("%s: %w: no record at byte %d", f.path, ErrDamagedLog, end)
		}
		j.end = fmt.Sprintf("%s ends at byte %d", f.path, end)
		before = f.path
	}
	return nil
}

// parser returns the functions for a file's format that read a record and find a record behind a
// damaged place, and the offset of the first record.
func (f journalFile) parser(b []byte) (parse func([]byte) (record, bool), beyond func(end int) bool, first int, err error) {
	if f.v1 {
		parse = func(b []byte) (record, bool) { return parseRecordV1(b, f.number) }
		return parse, func(end int) bool { return syncedBeyondV1(b, f.number, end) }, 0, nil
	}
	marker, ok := parseFileHead(b, f.number)
	if !ok {
		// Records are written after the head has been synced.
		if len(b) > fileHead && len(bytes.Trim(b[fileHead:], "\x00")) > 0 {
			return nil, nil, 0, fmt.Errorf("%s: %w: its head cannot be read", f.path, ErrDamagedLog)
		}
		none := func([]byte) (r record, ok bool) { return r, false }
		return none, func(int) bool { return false }, 0, nil
	}
	parse = func(b []byte) (record, bool) { return parseRecord(b, marker) }
	return parse, func(end int) bool { return syncedBeyond(b, marker, end) }, fileHead, nil
}

func (j *journal) read(file journalFile) ([]byte, error) {
	f, err := j.fs.Open(file.path)
	if err != nil {
		return nil, err
	}
	b, err := readSparse(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", file.path, err)
	}
	return b, nil
}

// sparseBlock is the number of bytes that readSparse reads at a time.
const sparseBlock = 64 << 10

// readSparse reads a file. Most of a journal's last file are zeros, since it is created with its
// full size: they are not copied, so that memory for them is reserved but not used.
func readSparse(f vfs.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, info.Size())
	block, zeros := make([]byte, sparseBlock), make([]byte, sparseBlock)
	for at := 0; at < len(b); {
		n, err := io.ReadFull(f, block[:min(sparseBlock, len(b)-at)])
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(block[:n], zeros[:n]) {
			copy(b[at:], block[:n])
		}
		at += n
	}
	return b, nil
}

// redo commits a record, if it is newer than last.
func (s *Store) redo(r record, last *uint64) error {
	if r.number <= *last {
		return nil
	}
	b := s.db.NewBatch()
	if err := b.SetRepr(bytes.Clone(r.data)); err != nil {
		return errors.Join(err, b.Close())
	}
	*last = r.number
	return errors.Join(b.Commit(pebble.NoSync), b.Close())
}
