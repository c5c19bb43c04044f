package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// journal is the log store's WAL, drawn in docs/formats/raft-log.md. Pebble's own gives
// every commit to a goroutine and waits for it; this one is written and synced by the
// goroutine that commits, which is what a lone write waits for (docs/adr/0010).
//
// A record holds a commit, and its number, which the commit also writes to the store.
// So Open knows which records the store has, and a file goes when the store has all of its
// records on disk.
//
// Invariants: records have consecutive numbers, except for those that the store had on disk when it
// was opened and the journal had not; a file is begun after the one before it was synced as a
// whole; after an error nothing is written any more.
type journal struct {
	fs   FS
	dir  string
	size int64 // of a file, unless one record takes more

	// guards the rest, and that the store gets commits in the order of their records
	mu      sync.Mutex
	err     error
	file    vfs.File // nil between two files
	number  uint64   // of file
	at      int64    // where the next record goes in file
	synced  int64    // up to where file was synced
	last    uint64   // number of the last record
	waiting []byte   // records that are not written yet: they need not be durable
	old     []journalFile
}

// journalFile is a file that is complete, and the number of its last record.
type journalFile struct {
	path string
	last uint64
}

const (
	journalSuffix = ".journal"
	// journalHead is checksum (4), length of the data (4), number of the file (8), up to where the
	// file was synced when the record was made (8), number of the record (8).
	journalHead       = 32
	journalWaitingMax = 256 << 10
)

// journalKey is where the store keeps the number of its last commit.
var journalKey = []byte{'j'}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openJournal gives the store what its journal has and it has not, and begins a new file.
func openJournal(s *Store, dir string, size int64) (*journal, error) {
	j := &journal{fs: s.options.FS, dir: dir, size: size}
	numbers, err := j.list()
	if err != nil {
		return nil, err
	}
	if j.last, err = s.journaled(); err != nil {
		return nil, err
	}
	if err := j.replay(s, numbers); err != nil {
		return nil, err
	}
	if err := s.db.Flush(); err != nil {
		return nil, fmt.Errorf("flush: %w", err)
	}
	for _, n := range numbers {
		j.number = n
		if err := j.fs.Remove(j.path(n)); err != nil {
			return nil, err
		}
	}
	return j, j.begin()
}

// journaled returns the number of the last commit that the store has.
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

func (j *journal) path(number uint64) string {
	return j.fs.PathJoin(j.dir, fmt.Sprintf("%06d%s", number, journalSuffix))
}

// list returns the numbers of the files, in order.
func (j *journal) list() (numbers []uint64, err error) {
	names, err := j.fs.List(j.dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if filepath.Ext(name) != journalSuffix {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSuffix(name, journalSuffix), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s is no name of a journal's file", name)
		}
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	return numbers, nil
}

// replay gives the store the records of files that it has not. The end of the last one may be torn:
// what was being written and was not synced. A member that goes on without what it has acknowledged
// could lose it for the whole cluster, so all else that does not fit is ErrDamagedLog.
func (j *journal) replay(s *Store, numbers []uint64) error {
	for i, number := range numbers {
		b, err := j.read(number)
		if err != nil {
			return err
		}
		end := 0
		for r, ok := parseRecord(b, number); ok; r, ok = parseRecord(b[end:], number) {
			if r.number > j.last+1 {
				// The file before this one was synced before this one was begun.
				return fmt.Errorf("%s: %w: record %d follows record %d", j.path(numbers[max(i-1, 0)]), ErrDamagedLog, r.number, j.last)
			}
			if err := s.redo(r, &j.last); err != nil {
				return fmt.Errorf("%s: record %d: %w", j.path(number), r.number, err)
			}
			end += r.size
		}
		if syncedBeyond(b, number, end) {
			return fmt.Errorf("%s: %w: no record at byte %d", j.path(number), ErrDamagedLog, end)
		}
	}
	return nil
}

func (j *journal) read(number uint64) ([]byte, error) {
	f, err := j.fs.Open(j.path(number))
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", j.path(number), err)
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

// record is one of a journal.
type record struct {
	number uint64
	synced uint64 // up to where the file was synced when it was made
	data   []byte
	size   int
}

// parseRecord reads the record at the beginning of b, of a file with a number.
func parseRecord(b []byte, file uint64) (r record, ok bool) {
	if len(b) < journalHead || binary.LittleEndian.Uint64(b[8:]) != file {
		return r, false
	}
	length := uint64(binary.LittleEndian.Uint32(b[4:]))
	if length > uint64(len(b)-journalHead) {
		return r, false
	}
	r.size = journalHead + int(length)
	if crc32.Checksum(b[4:r.size], castagnoli) != binary.LittleEndian.Uint32(b) {
		return r, false
	}
	r.synced, r.number, r.data = binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:]), b[journalHead:r.size]
	return r, true
}

// syncedBeyond reports whether behind the last record that could be read, which ends at end, there
// is one that was made when more than that had been synced.
func syncedBeyond(b []byte, file uint64, end int) bool {
	want := binary.LittleEndian.AppendUint64(nil, file)
	for at := end; ; at++ {
		if at+8 > len(b) {
			return false
		}
		i := bytes.Index(b[at+8:], want)
		if i < 0 {
			return false
		}
		at += i
		if r, ok := parseRecord(b[at:], file); ok && r.synced > uint64(end) {
			return true
		}
	}
}

// begin begins the next file. It gets its size and blocks at once, so that a sync has less metadata
// to write.
func (j *journal) begin() error {
	f, err := j.fs.Create(j.path(j.number+1), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if fd := f.Fd(); fd != vfs.InvalidFd {
		// A file system that cannot do it grows the file write by write.
		_ = unix.Fallocate(int(fd), 0, 0, j.size)
	}
	dir, err := j.fs.OpenDir(j.dir)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return errors.Join(err, f.Close())
	}
	j.file, j.at, j.synced = f, 0, 0
	j.number++
	return nil
}

// commit writes a batch to the journal, synced or not, and then to the store.
func (j *journal) commit(s *Store, b *pebble.Batch, sync bool) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return fmt.Errorf("the journal has failed before: %w", j.err)
	}
	var number [binary.MaxVarintLen64]byte
	if err := b.Set(journalKey, binary.AppendUvarint(number[:0], j.last+1), nil); err != nil {
		return err
	}
	if j.err = j.write(s, b.Repr(), sync); j.err == nil {
		j.err = b.Commit(pebble.NoSync)
	}
	return j.err
}

// write writes the next record.
func (j *journal) write(s *Store, data []byte, sync bool) error {
	if int64(len(data)) > 1<<32-1 {
		return fmt.Errorf("a commit of %d bytes does not fit into a record", len(data))
	}
	if j.at > 0 && j.at+journalHead+int64(len(data)) > j.size {
		if err := j.rotate(s); err != nil {
			return err
		}
	}
	at := len(j.waiting)
	j.waiting = append(j.waiting, make([]byte, journalHead)...)
	j.waiting = append(j.waiting, data...)
	head := j.waiting[at:]
	binary.LittleEndian.PutUint32(head[4:], uint32(len(data)))
	binary.LittleEndian.PutUint64(head[8:], j.number)
	binary.LittleEndian.PutUint64(head[16:], uint64(j.synced))
	binary.LittleEndian.PutUint64(head[24:], j.last+1)
	binary.LittleEndian.PutUint32(head, crc32.Checksum(head[4:], castagnoli))
	j.at += int64(len(head))
	j.last++
	switch {
	case sync:
		return j.sync()
	case len(j.waiting) > journalWaitingMax:
		return j.writeWaiting()
	default:
		return nil
	}
}

func (j *journal) writeWaiting() error {
	if len(j.waiting) == 0 {
		return nil
	}
	if _, err := j.file.Write(j.waiting); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	j.waiting = emptied(j.waiting, journalWaitingMax)
	return nil
}

// sync makes all records durable.
func (j *journal) sync() error {
	if err := j.writeWaiting(); err != nil {
		return err
	}
	if err := j.file.SyncData(); err != nil {
		return fmt.Errorf("sync journal: %w", err)
	}
	j.synced = j.at
	return nil
}

// rotate begins the next file, and removes those of which the store has everything on disk.
func (j *journal) rotate(s *Store) error {
	if err := j.sync(); err != nil {
		return err
	}
	done := j.file
	j.file = nil // until there is the next one: nothing is closed twice
	if err := done.Close(); err != nil {
		return fmt.Errorf("close journal: %w", err)
	}
	j.old = append(j.old, journalFile{j.path(j.number), j.last})
	if err := j.begin(); err != nil {
		return fmt.Errorf("begin journal %s: %w", j.path(j.number+1), err)
	}
	v, err := s.GetDurable(journalKey, nil)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("begin journal: %w", err)
	}
	durable, err := journalNumber(v)
	for err == nil && len(j.old) > 0 && j.old[0].last <= durable {
		err = j.fs.Remove(j.old[0].path)
		j.old = j.old[1:]
	}
	return err
}

// close writes and syncs what is left.
func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.file == nil:
		return nil // it failed between two files
	case j.err != nil:
		return j.file.Close()
	}
	j.err = ErrClosed
	return errors.Join(j.sync(), j.file.Close())
}
