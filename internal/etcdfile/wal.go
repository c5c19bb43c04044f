package etcdfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protowire"
)

// The types of records in etcd's log.
const (
	recordMetadata = 1
	recordEntry    = 2
	recordState    = 3
	recordCRC      = 4
	recordSnapshot = 5
)

// walSector is the unit in which a disk writes: a sector of zeros within a record means that the
// record was being written when the power failed.
const walSector = 512

// place is the position of an entry in the files.
type place struct {
	offset       int64
	file, length int32
}

// walFile is one file of the log.
type walFile interface {
	io.ReaderAt
	io.Closer
	Name() string
}

// WAL is etcd's log (member/wal), opened for reading. Its memory grows with the number of entries,
// not with their size.
type WAL struct {
	files  []walFile
	sum    uint32  // the checksum that continues in the next file
	after  uint64  // entries up to it are skipped
	first  uint64  // of places
	places []place // of the entries from first on
	last   uint64  // index of the last entry or snapshot record
	commit uint64  // as last recorded
	end    string  // the file and the offset where the log ends
}

// OpenWAL opens the log in a directory and verifies it. Only the entries behind index after can be
// read. A record that was being written when etcd was killed ends the log; other damage is an error
// with the file and the offset.
func OpenWAL(dir string, after uint64) (w *WAL, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: %w: there is no log: want files *.wal", dir, ErrCorrupt)
	}
	slices.Sort(names)
	w = &WAL{after: after, first: after + 1}
	if err := w.open(names); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func (w *WAL) open(names []string) error {
	for i, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		info, err := f.Stat()
		if err != nil {
			return errors.Join(err, f.Close())
		}
		if err := w.addFile(f, info.Size(), i == len(names)-1); err != nil {
			return err
		}
	}
	return w.checkEnd()
}

// addFile reads the records of the next file. The end of the last one may be torn.
func (w *WAL) addFile(f walFile, size int64, last bool) error {
	r := newWALReader(f, size, w.sum, last)
	w.files = append(w.files, f)
	err := w.scan(r, int32(len(w.files)-1))
	w.sum, w.end = r.sum, fmt.Sprintf("%s, offset %d", f.Name(), r.at)
	if err != nil {
		return fmt.Errorf("%s: %w", w.end, err)
	}
	return nil
}

// checkEnd returns an error if the log ends before an entry that was committed.
func (w *WAL) checkEnd() error {
	if want := max(w.commit, w.after); w.last < want {
		return fmt.Errorf("%s: %w: the log ends with entry %d, entries up to %d were committed", w.end, ErrCorrupt, w.last, want)
	}
	return nil
}

// Close closes the files.
func (w *WAL) Close() (err error) {
	for _, f := range w.files {
		err = errors.Join(err, f.Close())
	}
	return err
}

// Commit returns the last index that the log records as committed.
func (w *WAL) Commit() uint64 { return w.commit }

// Last returns the index of the last entry; the log may have none behind the index that it was
// opened with.
func (w *WAL) Last() uint64 { return w.first + uint64(len(w.places)) - 1 }

// Entries calls visit for the entries up to an index. visit may keep the entry.
func (w *WAL) Entries(to uint64, visit func(*raftpb.Entry) error) error {
	for i, p := range w.places {
		index := w.first + uint64(i)
		if index > to {
			return nil
		}
		data, e := make([]byte, p.length), new(raftpb.Entry)
		_, err := w.files[p.file].ReadAt(data, p.offset)
		if err == nil {
			err = unmarshal(data, e)
		}
		if err == nil {
			err = visit(e)
		}
		if err != nil {
			return fmt.Errorf("%s, offset %d, entry %d: %w", w.files[p.file].Name(), p.offset, index, err)
		}
	}
	return nil
}

// scan reads the records of a file.
func (w *WAL) scan(r *walReader, file int32) error {
	for {
		rec, err := r.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch rec.kind {
		case recordEntry:
			err = w.addEntry(rec, file)
		case recordState:
			var s raftpb.HardState
			if err = unmarshal(rec.data, &s); err == nil {
				w.commit = s.GetCommit()
			}
		case recordSnapshot:
			err = w.addSnapshot(rec)
		}
		if err != nil {
			return err
		}
	}
}

// addEntry records the place of an entry. It replaces the entry with the same index and all later
// ones: a new leader has overwritten them.
func (w *WAL) addEntry(rec walRecord, file int32) error {
	var e raftpb.Entry
	if err := unmarshal(rec.data, &e); err != nil {
		return err
	}
	index := e.GetIndex()
	if index > max(w.last, w.after)+1 || w.last > 0 && index > w.last+1 {
		return fmt.Errorf("%w: entry %d follows entry %d", ErrCorrupt, index, max(w.last, w.after))
	}
	w.last = index
	if index <= w.after {
		w.places = w.places[:0]
		return nil
	}
	w.places = append(w.places[:index-w.first], place{file: file, length: int32(len(rec.data)), offset: rec.offset})
	return nil
}

// addSnapshot records a snapshot: entries continue behind it, even if the log has none up to it.
func (w *WAL) addSnapshot(rec walRecord) error {
	index, err := parseWALSnapshot(rec.data)
	if err != nil || index <= w.last {
		return err
	}
	if index > w.after {
		return fmt.Errorf("a snapshot of entry %d was received and is not in the database, which ends with entry %d: start this member of etcd once more", index, w.after)
	}
	w.last = index
	return nil
}

// parseWALSnapshot returns the index of a snapshot record: field 1; field 2 is its term.
func parseWALSnapshot(b []byte) (index uint64, err error) {
	err = eachField(b, func(number protowire.Number, value uint64, _ []byte) {
		if number == 1 {
			index = value
		}
	})
	return index, err
}
