// Package deadline owns table t: what ends at which cluster time, the earliest first. An entry's
// key is drawn in docs/formats/v2.md and docs/formats/leases.md; its value is empty.
//
// The owner of each kind (v2tree, lease) writes its entries with the state that they belong to, and
// decides what an entry means: an entry counts only while its key, directory or lease has that
// deadline.
//
// Invariant: entries are sorted by time, and no time is negative (Parse checks it).
//
// Concurrency: everything is a function of its arguments.
package deadline

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"cairn/internal/kv"
	"cairn/internal/storage"
)

// ErrCorrupt is wrapped by the errors about keys that no cairn has written.
var ErrCorrupt = errors.New("corrupt deadline")

// Kind is what ends. The values are stored; never change them.
type Kind byte

// The kinds of entries.
const (
	Key       Kind = 'k' // a key of v2; the name is its path
	Directory Kind = 'd' // a directory of v2, with all below it; the name is its path
	Lease     Kind = 'l' // a lease of v3; the name is its ID in 8 bytes, big-endian
)

// Entry is one entry of table t.
type Entry struct {
	Time kv.ClusterTime
	Kind Kind
	Name []byte
}

// timeEnd is the length of a key up to its kind.
const timeEnd = 9

// AppendKey appends the key of an entry.
func AppendKey(dst []byte, e Entry) []byte {
	return append(append(appendTime(dst, e.Time), byte(e.Kind)), e.Name...)
}

func appendTime(dst []byte, t kv.ClusterTime) []byte {
	return binary.BigEndian.AppendUint64(append(dst, byte(storage.TableDeadlines)), uint64(t))
}

// Parse is the inverse of AppendKey. The name points into key.
func Parse(key []byte) (Entry, error) {
	if len(key) <= timeEnd || key[0] != byte(storage.TableDeadlines) || key[1]&0x80 != 0 {
		return Entry{}, fmt.Errorf("%w: key %x", ErrCorrupt, key[:min(len(key), 32)])
	}
	t := kv.ClusterTime(binary.BigEndian.Uint64(key[1:timeEnd]))
	return Entry{Time: t, Kind: Kind(key[timeEnd]), Name: key[timeEnd+1:]}, nil
}

// Cursor walks keys of the store in order; mvcc.Cursor is one.
type Cursor interface {
	First() bool
	Next() bool
	Key() []byte
	Close() error
}

// Bounds returns the keys between which a Cursor has the entries from one time to another, both
// included.
func Bounds(from, to kv.ClusterTime) (lower, upper []byte) {
	if to == math.MaxInt64 {
		return appendTime(nil, from), []byte{byte(storage.TableDeadlines) + 1}
	}
	return appendTime(nil, from), appendTime(nil, to+1)
}

// Visit calls visit with the first limit entries of a cursor, the earliest first, and closes the
// cursor. An entry's name is valid during the call. Visit ends at the first error.
func Visit(c Cursor, limit int, visit func(Entry) error) (err error) {
	defer func() { err = errors.Join(err, c.Close()) }()
	for ok := c.First(); ok && limit > 0; ok = c.Next() {
		limit--
		e, err := Parse(c.Key())
		if err != nil {
			return err
		}
		if err := visit(e); err != nil {
			return err
		}
	}
	return nil
}
