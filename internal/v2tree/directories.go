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

// ErrCorrupt is wrapped by errors for bytes in table d or t that this package cannot have written.
var ErrCorrupt = errors.New("corrupt v2 directory")

// directory is a value of table d. A directory's modified index is always its created index: etcd
// returns a new one for an update, but does not store it.
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

// rootKey is the root's key in table d. The root needs no entry; its value is the revision of the
// last change of the table (see Get).
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
	// An entry newer than the reading does not exist in it.
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

// place is the node at a path.
type place struct {
	is       content
	explicit bool      // table d has the directory
	dir      directory // if the node is a directory
	rec      kv.Record // if the node is a key
}

type content byte

const (
	nothing content = iota
	file
	folder
)

// lookup returns the node at a path. The record of a key has its value, which the caller owns, only
// if requested.
func lookup(r mvcc.Reading, path []byte, value bool) (p place, err error) {
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
	// One walk finds both the key itself and the first key below it.
	prefix := key[1:]
	err = r.Walk(path, afterSubtree(path), func(at []byte, rec *kv.Record) ([]byte, bool) {
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
		if seek, bad := invisible(at, len(prefix)); bad {
			return seek, true
		}
		p = place{is: folder, dir: directory{created: rec.CreateRevision}}
		return nil, false
	})
	return p, err
}

// invisible reports whether v2 does not show a key below a directory's prefix, and if so where to
// continue; nil means the next key.
func invisible(key []byte, prefix int) (seek []byte, bad bool) {
	end := invalidName(key, prefix)
	switch end {
	case -1:
		return nil, TooDeep(key)
	case len(key):
		return nil, true
	default:
		return afterSubtree(key[:end]), true
	}
}

// walkBelow visits the keys below a directory that v2 sees, in order.
func walkBelow(r mvcc.Reading, prefix []byte, visit func(key []byte, rec *kv.Record) (seek []byte, ok bool)) error {
	return r.Walk(prefix, afterPrefix(prefix), func(key []byte, rec *kv.Record) ([]byte, bool) {
		if seek, bad := invisible(key, len(prefix)); bad {
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
	upper := append([]byte{byte(storage.TableDirectories)}, afterPrefix(prefix)...)
	// behind the directory's own entry: no name begins with a slash, but with any other byte
	lower = append(lower, 0)
	c := &dirCursor{it: r.Cursor(lower, upper), rev: r.Revision()}
	c.readEntry(c.it.First())
	return c
}

// readEntry reads the current entry, skipping entries newer than the reading.
func (c *dirCursor) readEntry(more bool) {
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

// prefix returns the prefix of the current directory, valid until the next move.
func (c *dirCursor) prefix() []byte { return c.it.Key()[1:] }

func (c *dirCursor) next() { c.readEntry(c.it.Next()) }

func (c *dirCursor) seek(key []byte) {
	c.readEntry(c.it.SeekGE(append([]byte{byte(storage.TableDirectories)}, key...)))
}

func (c *dirCursor) close() error { return errors.Join(c.err, c.it.Close()) }
