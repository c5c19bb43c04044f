// Package etcdfile reads and writes the files of etcd 3.x: the bbolt database of a data directory
// (member/snap/db) and the snapshots that `etcdctl snapshot save` makes of it.
//
// It owns etcd's layout of buckets, keys and values, drawn in docs/formats/etcd.md. It does not own
// the use of the records: package backup imports and exports them.
//
// Invariants: a file is only read, except by Create, which makes a new one; damage is an error
// that names the file and the place, never a panic (the fuzz tests); memory does not grow with the
// file.
//
// Concurrency: none; a File belongs to one goroutine.
package etcdfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// ErrCorrupt is wrapped by the errors about bytes that no etcd has written.
var ErrCorrupt = errors.New("corrupt etcd database")

// The buckets of etcd's database.
var (
	bucketKey            = []byte("key")
	bucketMeta           = []byte("meta")
	bucketLease          = []byte("lease")
	bucketAuth           = []byte("auth")
	bucketUsers          = []byte("authUsers")
	bucketRoles          = []byte("authRoles")
	bucketMembers        = []byte("members")
	bucketMembersRemoved = []byte("members_removed")
	bucketCluster        = []byte("cluster")
	bucketAlarm          = []byte("alarm")
)

// pageMultiple divides the length of every bbolt file; a snapshot has a SHA-256 behind it.
const pageMultiple = 512

// magic is at byte 16 of a bbolt file, in the byte order of the machine that wrote it.
const magic = 0xED0CDAED

// IsDatabase reports whether a file is a bbolt database.
func IsDatabase(f io.ReaderAt) bool {
	var b [20]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return false
	}
	return binary.LittleEndian.Uint32(b[16:]) == magic || binary.BigEndian.Uint32(b[16:]) == magic
}

// File is an etcd database, opened for reading.
type File struct {
	path string
	size int64
	db   *bolt.DB
	tx   *bolt.Tx
}

// lockTimeout is how long Open waits for a process that has the database open.
const lockTimeout = time.Second

// Open opens a database or a snapshot. With check it verifies the SHA-256 of a snapshot; a file
// without one must be a database of a data directory.
func Open(path string, check bool) (f *File, err error) {
	size, err := verify(path, check)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f = &File{path: path, size: size}
	err = f.guard(func() (err error) {
		// The list of free pages is not needed, and its size in memory grows with the file's.
		f.db, err = bolt.Open(path, 0o400, &bolt.Options{ReadOnly: true, Timeout: lockTimeout})
		if errors.Is(err, bolterrors.ErrTimeout) {
			return errors.New("is open in another process: stop the etcd that uses it, or take a snapshot")
		}
		if err != nil {
			return err
		}
		f.tx, err = f.db.Begin(false)
		return err
	})
	if err == nil && f.tx.Bucket(bucketKey) == nil {
		err = fmt.Errorf("%s: %w: there is no bucket %q", path, ErrCorrupt, bucketKey)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// verify returns a file's size, and an error unless it is a database or a complete snapshot.
func verify(path string, check bool) (size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, errors.Unwrap(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	size = info.Size()
	switch {
	case info.IsDir():
		return 0, errors.New("is a directory, want a snapshot file")
	case !IsDatabase(f):
		return 0, fmt.Errorf("%w: no bbolt database: magic number missing at byte 16", ErrCorrupt)
	case size%pageMultiple != 0 && size%pageMultiple != sha256.Size:
		return 0, fmt.Errorf("%w: %d bytes, want a multiple of %d, or that and a SHA-256: the file is truncated", ErrCorrupt, size, pageMultiple)
	case size%pageMultiple == 0 || !check:
		return size, nil
	}
	sum, recorded := sha256.New(), make([]byte, sha256.Size)
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, size-sha256.Size)); err != nil {
		return 0, err
	}
	if _, err := f.ReadAt(recorded, size-sha256.Size); err != nil {
		return 0, err
	}
	if computed := sum.Sum(nil); !bytes.Equal(computed, recorded) {
		return 0, fmt.Errorf("%w: checksum mismatch: computed SHA-256 %x, recorded %x", ErrCorrupt, computed, recorded)
	}
	return size, nil
}

// guard runs f, which reads the database, and turns a panic of bbolt into an error: bbolt trusts
// the pages that it reads, even if a page of the mapped file is no longer readable.
func (f *File) guard(read func() error) (err error) {
	fault := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(fault)
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrCorrupt, p)
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", f.path, err)
		}
	}()
	return read()
}

// Path returns the name that the file was opened with.
func (f *File) Path() string { return f.path }

// Size returns the bytes of the file, including its checksum.
func (f *File) Size() int64 { return f.size }

// Close closes the file.
func (f *File) Close() (err error) {
	if f.tx != nil {
		err = f.tx.Rollback()
	}
	if f.db != nil {
		err = errors.Join(err, f.db.Close())
	}
	return err
}

// each calls visit for every pair of a bucket, in the order of the keys. Keys and values are valid
// during the call. A missing bucket counts as empty.
func (f *File) each(bucket []byte, visit func(key, value []byte) error) error {
	return f.guard(func() error {
		b := f.tx.Bucket(bucket)
		if b == nil {
			return nil
		}
		c := b.Cursor()
		for key, value := c.First(); key != nil; key, value = c.Next() {
			if value == nil {
				return fmt.Errorf("%w: bucket %q has a bucket %x", ErrCorrupt, bucket, key)
			}
			if err := visit(key, value); err != nil {
				return fmt.Errorf("bucket %q, key %x: %w", bucket, key, err)
			}
		}
		return nil
	})
}

// get returns a copy of a value, nil when there is none.
func (f *File) get(bucket []byte, key string) (value []byte, err error) {
	err = f.guard(func() error {
		if b := f.tx.Bucket(bucket); b != nil {
			value = bytes.Clone(b.Get([]byte(key)))
		}
		return nil
	})
	return value, err
}
