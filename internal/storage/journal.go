package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// journal is the log store's WAL, drawn in docs/formats/raft-log.md. Pebble's own WAL passes every
// commit to a goroutine and waits for it; the goroutine that commits writes and syncs the journal,
// which shortens the wait of a lone write (docs/adr/0010).
//
// A record has a commit and its number, which the commit also writes to the store. So Open knows
// which records the store has, and a file is removed when the store has all of its records on disk.
//
// Invariants: records have consecutive numbers, except for those that the store had on disk when it
// was opened and the journal had not (reading checks it); a file is started after the previous one
// was completely synced (rotate); after an error nothing more is written (commit); no payload
// contains the marker of its file (write).
type journal struct {
	fs      FS
	dir     string
	size    int64               // of a file, unless one record takes more
	onWrite func(time.Duration) // may be nil
	end     string              // JournalEnd

	written atomic.Uint64 // bytes written since the journal was opened

	// guards the fields below, and makes the store receive commits in the order of their records
	mu      sync.Mutex
	err     error
	file    vfs.File // nil between two files
	number  uint64   // of file
	marker  uint64   // of file
	at      int64    // offset of the next record in file
	synced  int64    // offset up to which file was synced
	last    uint64   // number of the last record
	waiting []byte   // records that are not written yet: they need not be durable
	// noWriteback reports that the file system does not support startWriteback.
	noWriteback bool
	old         []journalFile
}

// journalWaitingMax is the number of bytes of records in memory above which they are written.
const journalWaitingMax = 256 << 10

// journalKey is the store's key of the number of its last commit.
var journalKey = []byte{'j'}

// ErrLogRemoved is wrapped by commits to a log store whose journal file was deleted.
var ErrLogRemoved = errors.New("the journal's file was removed from the data directory")

func (j *journal) path(number uint64) string {
	return j.fs.PathJoin(j.dir, fmt.Sprintf("%06d%s", number, journalSuffix))
}

// start creates the next file. It allocates the whole file at once, so that a sync has less
// metadata to write.
func (j *journal) start() error {
	marker, err := newMarker()
	if err != nil {
		return err
	}
	f, err := j.fs.Create(j.path(j.number+1), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if fd := f.Fd(); fd != vfs.InvalidFd {
		// If the file system cannot reserve blocks, the file grows write by write.
		_ = unix.Fallocate(int(fd), 0, 0, j.size)
	}
	_, err = f.Write(appendFileHead(nil, j.number+1, marker))
	if err == nil {
		err = f.SyncData()
	}
	if err == nil {
		err = syncDir(j.fs, j.dir)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	j.written.Add(fileHead)
	j.file, j.marker, j.at, j.synced = f, marker, fileHead, fileHead
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
	j.err = j.commitNext(s, b, sync)
	return j.err
}

// commitNext writes a batch to the journal and to the store. A batch that must be durable is given
// to the store while the disk writes it.
func (j *journal) commitNext(s *Store, b *pebble.Batch, sync bool) error {
	if err := j.write(s, b.Repr()); err != nil {
		return err
	}
	if !sync {
		return b.Commit(pebble.NoSync)
	}
	if err := j.writeWaiting(); err != nil {
		return err
	}
	if err := j.startWriteback(); err != nil {
		return err
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return err
	}
	return j.sync()
}

// write adds the next record to those that wait to be written.
func (j *journal) write(s *Store, data []byte) error {
	if len(data) > recordDataMax {
		return fmt.Errorf("a commit of %d bytes does not fit into a record", len(data))
	}
	for (j.at > fileHead && j.at+int64(recordSize(len(data))) > j.size) || holdsMarker(data, j.marker) {
		if err := j.rotate(s); err != nil {
			return err
		}
	}
	at := len(j.waiting)
	j.waiting = appendRecord(j.waiting, j.marker, uint64(j.synced), j.last+1, data)
	j.at += int64(len(j.waiting) - at)
	j.last++
	if len(j.waiting) > journalWaitingMax {
		return j.writeWaiting()
	}
	return nil
}

func (j *journal) writeWaiting() error {
	if len(j.waiting) == 0 {
		return nil
	}
	var began time.Time
	if j.onWrite != nil {
		began = time.Now()
	}
	if _, err := j.file.Write(j.waiting); err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	if j.onWrite != nil {
		j.onWrite(time.Since(began))
	}
	j.written.Add(uint64(len(j.waiting)))
	j.waiting = emptied(j.waiting, journalWaitingMax)
	return nil
}

// startWriteback lets the kernel begin to write the last records to the disk, which their sync then
// waits for.
func (j *journal) startWriteback() error {
	fd := j.file.Fd()
	if fd == vfs.InvalidFd || j.noWriteback {
		return nil
	}
	err := unix.SyncFileRange(int(fd), j.synced, j.at-j.synced, unix.SYNC_FILE_RANGE_WRITE)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP),
		errors.Is(err, unix.EPERM), errors.Is(err, unix.ESPIPE):
		j.noWriteback = true // not supported: nothing has been written
		return nil
	default:
		// The sync need not report it again: the kernel may have dropped the pages.
		return fmt.Errorf("write journal: %w", err)
	}
}

// sync makes all records durable.
func (j *journal) sync() error {
	if err := j.writeWaiting(); err != nil {
		return err
	}
	if err := j.file.SyncData(); err != nil {
		return fmt.Errorf("sync journal: %w", err)
	}
	if err := j.checkLinked(); err != nil {
		return err
	}
	j.synced = j.at
	return nil
}

// checkLinked returns ErrLogRemoved when the file was deleted: its content would be lost at the end
// of the process.
func (j *journal) checkLinked() error {
	fd := j.file.Fd()
	if fd == vfs.InvalidFd {
		return nil
	}
	// Unlike fstat this does not ask for the times. Since Linux 6.13 the next write to a file whose
	// times were asked for changes the inode each time; without a journal of its own ext4 then
	// writes the inode in each fdatasync, which takes half as long again (docs/adr/0010).
	var stat unix.Statx_t
	err := unix.Statx(int(fd), "", unix.AT_EMPTY_PATH, unix.STATX_NLINK, &stat)
	if err == nil && stat.Mask&unix.STATX_NLINK != 0 && stat.Nlink == 0 {
		return fmt.Errorf("sync %s: %w", j.path(j.number), ErrLogRemoved)
	}
	return nil
}

// rotate starts the next file, and removes those whose records are all on the store's disk.
func (j *journal) rotate(s *Store) error {
	if err := j.sync(); err != nil {
		return err
	}
	done := j.file
	j.file = nil // until the next file exists, so that no file is closed twice
	if err := done.Close(); err != nil {
		return fmt.Errorf("close journal: %w", err)
	}
	j.old = append(j.old, journalFile{number: j.number, path: j.path(j.number), last: j.last})
	if err := j.start(); err != nil {
		return fmt.Errorf("start journal %s: %w", j.path(j.number+1), err)
	}
	v, err := s.GetDurable(journalKey, nil)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("start journal: %w", err)
	}
	durable, err := journalNumber(v)
	for err == nil && len(j.old) > 0 && j.old[0].last <= durable {
		err = j.fs.Remove(j.old[0].path)
		j.old = j.old[1:]
	}
	return err
}

// close writes and syncs the waiting records.
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
