// Package etcdfile reads and writes the files of etcd 3.x: the bbolt database of a data directory
// (member/snap/db) and the snapshots that `etcdctl snapshot save` makes of it.
//
// It owns etcd's layout of buckets, keys and values, drawn in docs/formats/etcd.md. It does not own
// the use of the records: package backup imports and exports them.
//
// Invariants: a file is only read, except by Create, which makes a new one; damage is an error
// that names the file and the offset, never a panic (TestDamageHasAnOffset, the fuzz tests); memory
// does not grow with the file, and no more than some MiB of the mapped file are resident
// (TestMappedPagesAreReleased).
//
// Concurrency: none; a File belongs to one goroutine.
package etcdfile

import (
	"bytes"
	"cmp"
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

// ErrNoV3 is the error about a database in which no server has ever stored v3 keys: `etcdctl
// backup` makes one if it is not told to include them.
var ErrNoV3 = errors.New("has no v3 keys")

// ErrNoHash is the error about a snapshot without its SHA-256.
var ErrNoHash = errors.New("snapshot without a SHA-256")

// ErrInUse is the error about a database that another process has open.
var ErrInUse = errors.New("is open in another process: stop the etcd that uses it, or take a snapshot")

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

// magic is at magicOffset of a bbolt file, in the byte order of the machine that wrote it.
const (
	magic       = 0xED0CDAED
	magicOffset = 16
)

// IsDatabase reports whether a file is a bbolt database.
func IsDatabase(f io.ReaderAt) bool {
	var b [4]byte
	if _, err := f.ReadAt(b[:], magicOffset); err != nil {
		return false
	}
	return binary.LittleEndian.Uint32(b[:]) == magic || binary.BigEndian.Uint32(b[:]) == magic
}

// File is an etcd database, opened for reading.
type File struct {
	path   string
	file   *os.File
	size   int64
	db     *bolt.DB
	tx     *bolt.Tx
	mapped []byte // bbolt's mapping of the file
	read   int64  // bytes visited since the pages of the mapping were last released

	visited int64 // bytes of keys and values visited

	guarded bool         // guard is running
	random  *bolt.Cursor // of Value
	window  uintptr      // the part of the mapping that Value has read last
}

// lockTimeout is how long Open waits for a process that has the database open.
const lockTimeout = time.Second

// Open opens a database or a snapshot. With check the file must be a snapshot with its SHA-256,
// which is verified; without one the error is ErrNoHash.
func Open(path string, check bool) (f *File, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, errors.Unwrap(err))
	}
	f = &File{path: path, file: file}
	if f.size, err = verify(file, check); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	err = f.guard(func() (err error) {
		// The list of free pages is not needed, and its size in memory grows with the file's.
		f.db, err = bolt.Open(path, 0o400, &bolt.Options{ReadOnly: true, Timeout: lockTimeout})
		if errors.Is(err, bolterrors.ErrTimeout) {
			return ErrInUse
		}
		if err != nil {
			return err
		}
		f.mapped = mapping(f.db, f.size)
		if f.tx, err = f.db.Begin(false); err != nil {
			return err
		}
		if f.tx.Bucket(bucketKey) == nil {
			return f.withoutKeys()
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// verify returns a file's size, and an error unless it is a database or a complete snapshot.
func verify(f *os.File, check bool) (size int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	size = info.Size()
	switch {
	case info.IsDir():
		return 0, errors.New("is a directory, want a snapshot file")
	case !IsDatabase(f):
		return 0, fmt.Errorf("%w: no bbolt database: magic number missing at offset %d", ErrCorrupt, magicOffset)
	case size%pageMultiple != 0 && size%pageMultiple != sha256.Size:
		return 0, fmt.Errorf("%w: the file ends at offset %d, want a multiple of %d, or that and a SHA-256: it is truncated", ErrCorrupt, size, pageMultiple)
	case !check:
		return size, checkLength(f, size)
	case size%pageMultiple == 0:
		return 0, cmp.Or(checkLength(f, size),
			fmt.Errorf("%w: the file ends at offset %d: it was truncated, or copied from a data directory", ErrNoHash, size))
	}
	sum, recorded, end := sha256.New(), make([]byte, sha256.Size), size-sha256.Size
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, end)); err != nil {
		return 0, err
	}
	if _, err := f.ReadAt(recorded, end); err != nil {
		return 0, err
	}
	if computed := sum.Sum(nil); !bytes.Equal(computed, recorded) {
		return 0, withPlace(f, size, fmt.Errorf("%w: checksum mismatch at offset %d: computed SHA-256 %x, recorded %x", ErrCorrupt, end, computed, recorded))
	}
	return size, checkLength(f, end)
}

// checkLength returns an error if a file is shorter than its metadata says: bbolt would read behind
// the end of the mapping.
func checkLength(f io.ReaderAt, size int64) error {
	_, _, err := newPageWalker(f, size)
	if at := (*placeError)(nil); errors.As(err, &at) && at.truncated {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return nil // of other damage bbolt knows more: one of the two pages of metadata may be torn
}

// withoutKeys returns the error about a database without the bucket of keys. In a damaged one the
// bucket may be lost.
func (f *File) withoutKeys() error {
	if found := findDamage(f.file, f.size); found != nil {
		return fmt.Errorf("%w: there is no bucket %q", ErrCorrupt, bucketKey)
	}
	return fmt.Errorf("%w: there is no bucket %q", ErrNoV3, bucketKey)
}

// withPlace adds the place of the damage to an error about a file. If every page and record has the
// right form, the damage is in a value or in an unused page, whose place is not known.
func withPlace(f io.ReaderAt, size int64, err error) error {
	if found := findDamage(f, size); found != nil {
		return fmt.Errorf("%w; damaged: %w", err, found)
	}
	return fmt.Errorf("%w; every page has the right form: the damage is within a value or an unused page", err)
}

// guard runs f, which reads the database, and turns a panic of bbolt into an error: bbolt trusts
// the pages that it reads, even if a page of the mapped file is no longer readable.
func (f *File) guard(read func() error) (err error) {
	if f.guarded {
		return read()
	}
	f.guarded = true
	fault := debug.SetPanicOnFault(true)
	defer func() {
		f.guarded = false
		debug.SetPanicOnFault(fault)
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrCorrupt, p)
		}
		if errors.Is(err, ErrCorrupt) {
			err = withPlace(f.file, f.size, err)
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

// Visited returns the bytes of keys and values that were visited, at most about the file's size.
func (f *File) Visited() int64 { return f.visited }

// Close closes the file.
func (f *File) Close() (err error) {
	if f.tx != nil {
		err = f.tx.Rollback()
	}
	if f.db != nil {
		err = errors.Join(err, f.db.Close())
	}
	return errors.Join(err, f.file.Close())
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
			if err := f.release(len(key) + len(value)); err != nil {
				return err
			}
		}
		return nil
	})
}

// buckets returns the names of all buckets.
func (f *File) buckets() (names [][]byte, err error) {
	err = f.guard(func() error {
		return f.tx.ForEach(func(name []byte, _ *bolt.Bucket) error {
			names = append(names, bytes.Clone(name))
			return nil
		})
	})
	return names, err
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
