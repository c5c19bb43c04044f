// Package backup works on states outside of a running member: it writes and checks snapshot files,
// makes data directories from them, and turns a stopped member into a cluster of one.
//
// A file is the stream of package snapshot with a SHA-256 behind it (docs/formats/snapshot.md). A
// restored data directory belongs to a new cluster: it has the keys with their history, leases,
// users and roles of the snapshot, and other members. The package does not own the stream
// (snapshot), the content of a state (machine), or the layout of data directories (datadir).
//
// Invariants: a data directory is made completely or not at all (TestSaveIsAllOrNothing), and never
// replaces anything (TestRestoreIntoNothingElse); every restored byte has been verified
// (TestSpoiltFiles).
//
// Concurrency: none; each function works on its own files, which datadir's lock guards.
package backup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"cairn/internal/etcdfile"
	"cairn/internal/snapshot"
	"cairn/internal/storage"
)

// damagedHint is the advice to the user for a damaged file.
const damagedHint = "take another one (ETCDCTL_API=3 etcdctl snapshot save), or use an older one"

// File is an open snapshot file.
type File struct {
	*snapshot.Stream
	f    *os.File
	size int64
}

// Open opens a snapshot file. With check it verifies the SHA-256 first, which reads the file an
// additional time. Its errors name the file and what to do.
func Open(path string, check bool) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open snapshot: %w", err)
	}
	file, err := open(f, check)
	if err != nil {
		return nil, errors.Join(explain(path, err), f.Close())
	}
	return file, nil
}

// errEtcd is the error about a file that etcd wrote.
var errEtcd = errors.New("is a snapshot of etcd itself: make a data directory of it with `etcdutl import`")

// explain adds the file's name and what to do to an error.
func explain(path string, err error) error {
	switch {
	case errors.Is(err, errEtcd):
		return fmt.Errorf("snapshot %s: %w", path, err)
	case errors.Is(err, snapshot.ErrCorrupt):
		return fmt.Errorf("snapshot %s: %w: %s", path, err, damagedHint)
	default:
		return fmt.Errorf("snapshot %s: %w", path, err)
	}
}

func open(f *os.File, check bool) (*File, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, errors.New("is a directory, not a snapshot's file")
	}
	if etcdfile.IsDatabase(f) {
		return nil, errEtcd
	}
	if check {
		if err := snapshot.CheckFile(f, info.Size()); err != nil {
			return nil, withPlace(f, info.Size(), err)
		}
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
	}
	stream, err := snapshot.NewStream(f)
	if err != nil {
		return nil, err
	}
	return &File{Stream: stream, f: f, size: info.Size()}, nil
}

// withPlace adds the place of the damage to an error about the checksum of a whole file. A file of
// the wrong size is damaged where it ends.
func withPlace(f *os.File, size int64, err error) error {
	if !errors.Is(err, snapshot.ErrCorrupt) || !snapshot.WholeFile(size) {
		return err
	}
	if _, failed := f.Seek(0, io.SeekStart); failed != nil {
		return errors.Join(err, failed)
	}
	end, found := findDamage(f)
	if found != nil {
		return fmt.Errorf("%w; damaged: %w", err, found)
	}
	return fmt.Errorf("%w; damaged: behind offset %d, where the content ends", err, end)
}

// findDamage reads a stream to its end, and returns the error about the first block that is
// damaged.
func findDamage(r io.Reader) (end int64, err error) {
	s, err := snapshot.NewStream(r)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	for {
		if _, _, err := s.Next(); errors.Is(err, io.EOF) {
			return s.Bytes(), nil
		} else if err != nil {
			return 0, err
		}
	}
}

// Close closes the file.
func (f *File) Close() error {
	f.Stream.Close()
	return f.f.Close()
}

// Status describes a snapshot.
type Status struct {
	Hash      uint32 // of all key-values
	Revision  int64
	TotalKeys int64 // live keys
	TotalSize int64 // bytes of the file
	Version   string
}

// ReadStatus reads a whole snapshot file.
func ReadStatus(path string) (s Status, err error) {
	f, err := Open(path, true)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var live int64
	for {
		key, value, err := f.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return s, explain(path, err)
		}
		// the blocks of the count index have the number of live keys
		if len(key) > 0 && storage.Table(key[0]) == storage.TableCounts {
			n, _ := binary.Uvarint(value)
			live += int64(n)
		}
	}
	return Status{Hash: uint32(f.Hash()), Revision: f.Meta().Revision, TotalKeys: live, TotalSize: f.size}, nil
}
