package etcdfile

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"cairn/internal/kv"
)

// Change is one change of a key: the record is the version that it made, or a tombstone.
type Change struct {
	Key    []byte
	Record kv.Record
}

// Changes calls visit for every change in the database, in the order of the revisions. The change
// and its bytes are valid during the call.
func (f *File) Changes(visit func(*Change) error) error {
	var c Change
	return f.each(bucketKey, func(key, value []byte) (err error) {
		if c, err = parseChange(key, value); err != nil {
			return err
		}
		return visit(&c)
	})
}

// Value returns the value that was written at a revision. It is valid until the next call.
func (f *File) Value(rev kv.Revision) (value []byte, err error) {
	var room [tombstoneBytes]byte
	want := appendRevision(room[:0], rev)
	err = f.guard(func() error {
		if f.random == nil {
			f.random = f.tx.Bucket(bucketKey).Cursor()
		}
		key, record := f.random.Seek(want)
		if !bytes.Equal(key, want) {
			return fmt.Errorf("%w: bucket %q has no key %x", ErrCorrupt, bucketKey, want)
		}
		c, err := parseChange(key, record)
		if err != nil {
			return err
		}
		value = c.Record.Value
		return f.releaseRandom(record)
	})
	return value, err
}

// The fields of etcd's message mvccpb.KeyValue.
const (
	fieldKey            = 1
	fieldCreateRevision = 2
	fieldModRevision    = 3
	fieldVersion        = 4
	fieldValue          = 5
	fieldLease          = 6
)

// parseChange parses a record of the bucket of keys. The change refers to the bytes of value.
func parseChange(key, value []byte) (c Change, err error) {
	r := &c.Record
	if r.Mod, err = parseRevision(key); err != nil {
		return c, err
	}
	switch {
	case len(key) == tombstoneBytes && key[revisionBytes] == tombstoneMark:
		r.Deleted = true
	case len(key) != revisionBytes:
		return c, fmt.Errorf("%w: %x is no revision", ErrCorrupt, key)
	}
	mod, err := c.parse(value)
	switch {
	case err != nil:
		return c, fmt.Errorf("%w: key-value: %w", ErrCorrupt, err)
	case r.Deleted: // etcd writes the key alone
		*r = kv.Record{Mod: r.Mod, Deleted: true}
	case mod != r.Mod.Main:
		return c, fmt.Errorf("%w: mod revision %d at revision %d", ErrCorrupt, mod, r.Mod.Main)
	}
	return c, nil
}

// parse parses etcd's message of a key and its value. It returns the mod revision in it.
func (c *Change) parse(b []byte) (mod int64, err error) {
	for len(b) > 0 {
		var f field
		if f, b, err = nextField(b); err != nil {
			return 0, err
		}
		switch {
		case f.kind == protowire.BytesType && f.number == fieldKey:
			c.Key = f.bytes
		case f.kind == protowire.BytesType && f.number == fieldValue:
			c.Record.Value = f.bytes
		case f.kind != protowire.VarintType: // a field that etcd does not have
		case f.number == fieldCreateRevision:
			c.Record.CreateRevision = int64(f.value)
		case f.number == fieldModRevision:
			mod = int64(f.value)
		case f.number == fieldVersion:
			c.Record.Version = int64(f.value)
		case f.number == fieldLease:
			c.Record.Lease = kv.LeaseID(f.value)
		}
	}
	return mod, nil
}
