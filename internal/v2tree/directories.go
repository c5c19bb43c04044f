package v2tree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"cairn/internal/codec"
	"cairn/internal/kv"
	"cairn/internal/mvcc"
	"cairn/internal/storage"
)

// ErrCorrupt is wrapped by errors that tell of bytes in table d or t which this
// package cannot have written.
var ErrCorrupt = errors.New("corrupt v2 directory")

// directory is what table d holds for a path. A directory's modified index is
// always its created index: etcd answers an update with a new one, but does not
// keep it.
type directory struct {
	created  int64
	deadline kv.ClusterTime // 0 is none
}

// dirKey appends the key of table d for a directory's path.
func dirKey(dst, path []byte) []byte {
	dst = append(append(dst, byte(storage.TableDirectories)), path...)
	if isRoot(path) {
		return dst
	}
	return append(dst, '/')
}

// rootKey is the root's key in table d. The root needs no entry; what is there
// instead is the revision of the last change of the table (see Get).
var rootKey = dirKey(nil, []byte("/"))

func (d directory) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(d.created))
	if d.deadline != 0 {
		dst = binary.AppendUvarint(dst, uint64(d.deadline))
	}
	return dst
}

func decodeDirectory(b []byte) (directory, error) {
	r := codec.NewReader(b)
	d := directory{created: int64(r.Uvarint())}
	if r.Len() > 0 {
		d.deadline = kv.ClusterTime(r.Uvarint())
	}
	if d.created <= 0 || d.deadline < 0 {
		r.Fail("created %d, deadline %d", d.created, d.deadline)
	}
	if err := r.End(); err != nil {
		return d, fmt.Errorf("%w: entry %x: %w", ErrCorrupt, b[:min(len(b), 32)], err)
	}
	return d, nil
}

// lendDirectory reads the entry of table d with the given key.
func lendDirectory(r mvcc.Reading, key []byte) (d directory, ok bool, err error) {
	b, closer, err := r.Lend(key)
	if errors.Is(err, storage.ErrNotFound) {
		return d, false, nil
	}
	if err != nil {
		return d, false, fmt.Errorf("read directory: %w", err)
	}
	d, err = decodeDirectory(b)
	if closer != nil {
		err = errors.Join(err, closer.Close())
	}
	// What is newer than the reading is not there yet.
	return d, err == nil && d.created <= r.Revision(), err
}

// lastDirectoryChange returns the revision of the last change of table d, or 0.
func lastDirectoryChange(r mvcc.Reading) (int64, error) {
	b, closer, err := r.Lend(rootKey)
	if errors.Is(err, storage.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read directory: %w", err)
	}
	d, err := decodeDirectory(b)
	if closer != nil {
		err = errors.Join(err, closer.Close())
	}
	return d.created, err
}

// place is what stands at a path.
type place struct {
	is       content
	explicit bool      // table d has the directory
	dir      directory // of a directory
	rec      kv.Record // of a key
}

type content byte

const (
	nothing content = iota
	file
	folder
)

// look finds out what stands at a path. The record of a key has its value only
// when that is asked for; it is the caller's then.
func look(r mvcc.Reading, path []byte, value bool) (p place, err error) {
	if isRoot(path) {
		return place{is: folder}, nil
	}
	// While v3 has written no such keys, none is hidden, and all directories are
	// in table d.
	if !r.Mixed() {
		if rec, ok, err := r.Get(path); err != nil || ok {
			return place{is: file, rec: rec}, err
		}
	}
	key := dirKey(make([]byte, 0, len(path)+2), path)
	dir, ok, err := lendDirectory(r, key)
	if err != nil || ok {
		return place{is: folder, explicit: true, dir: dir}, err
	}
	if !r.Mixed() {
		return place{}, nil
	}
	// One walk finds both the key itself, and the first one below.
	prefix := key[1:]
	err = r.Walk(path, past(path), func(at []byte, rec *kv.Record) ([]byte, bool) {
		switch {
		case bytes.Equal(at, path):
			p = place{is: file, rec: *rec}
			p.rec.Value = nil
			if value {
				p.rec.Value = bytes.Clone(rec.Value)
			}
			return prefix, true
		case !bytes.HasPrefix(at, prefix):
			return prefix, true // a longer name: /a-b sorts between /a and /a/
		}
		if seek, bad := unseen(at, len(prefix)); bad {
			return seek, true
		}
		p = place{is: folder, dir: directory{created: rec.CreateRevision}}
		return nil, false
	})
	return p, err
}

// unseen reports whether a key whose name begins below a directory's prefix is not
// seen by v2, and if so where to go on: nil is the next key.
func unseen(key []byte, prefix int) (seek []byte, bad bool) {
	end := offence(key, prefix)
	switch end {
	case -1:
		return nil, TooDeep(key)
	case len(key):
		return nil, true
	default:
		return past(key[:end]), true
	}
}

// walkBelow visits the keys below a directory that v2 sees, in order.
func walkBelow(r mvcc.Reading, prefix []byte, visit func(key []byte, rec *kv.Record) (seek []byte, ok bool)) error {
	return r.Walk(prefix, pastPrefix(prefix), func(key []byte, rec *kv.Record) ([]byte, bool) {
		if seek, bad := unseen(key, len(prefix)); bad {
			return seek, true
		}
		return visit(key, rec)
	})
}

// dirCursor walks the entries of table d below a directory, without its own.
type dirCursor struct {
	it   mvcc.Cursor
	rev  int64
	more bool
	dir  directory
	err  error
}

func directoriesBelow(r mvcc.Reading, prefix []byte) *dirCursor {
	lower := append(append(make([]byte, 0, len(prefix)+2), byte(storage.TableDirectories)), prefix...)
	upper := append([]byte{byte(storage.TableDirectories)}, pastPrefix(prefix)...)
	// behind the directory's own entry: no name begins with a slash, but with any other byte
	lower = append(lower, 0)
	c := &dirCursor{it: r.Cursor(lower, upper), rev: r.Revision()}
	c.settle(c.it.First())
	return c
}

// settle reads the present entry, passing over what is newer than the reading.
func (c *dirCursor) settle(more bool) {
	for ; more; more = c.it.Next() {
		if c.dir, c.err = decodeDirectory(c.it.Value()); c.err != nil {
			more = false
			break
		}
		if c.dir.created <= c.rev {
			break
		}
	}
	c.more = more
}

// prefix returns the prefix of the present directory, valid until the next move.
func (c *dirCursor) prefix() []byte { return c.it.Key()[1:] }

func (c *dirCursor) next() { c.settle(c.it.Next()) }

func (c *dirCursor) seek(key []byte) {
	c.settle(c.it.SeekGE(append([]byte{byte(storage.TableDirectories)}, key...)))
}

func (c *dirCursor) close() error { return errors.Join(c.err, c.it.Close()) }
