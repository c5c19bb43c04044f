package migration

import (
	"encoding/binary"
	"fmt"

	"cairn/internal/auth"
	"cairn/internal/codec"
	"cairn/internal/kv"
)

// Kind is the kind of a command. The values are stored; never renumber them.
type Kind byte

// The kinds of commands.
const (
	KindBegin  Kind = 1
	KindLoad   Kind = 2
	KindReplay Kind = 3
	KindAuth   Kind = 4
	KindLeases Kind = 5
	KindFinish Kind = 6
)

// Command is one step of a migration. Fields that do not belong to its kind are not written.
type Command struct {
	Kind Kind

	Source    uint64 // of KindBegin
	Endpoints string
	Base      int64

	Complete bool // of KindLoad: the keys are complete with these changes

	// UpTo, of KindReplay, is the store's revision afterwards. Revisions without a change get an
	// empty event. Seen is the newest known revision of the source.
	UpTo, Seen int64

	Changes []Change // of KindLoad and KindReplay, in the order of their revisions

	Auth auth.Restoration // of KindAuth

	Leases []Lease // of KindLeases

	Revision int64 // of KindFinish: the store's required revision
}

// Change is the new state of a key.
type Change struct {
	Key    []byte
	Record kv.Record
}

// Lease is a lease with its remaining time in seconds.
type Lease struct {
	ID        kv.LeaseID
	TTL, Left int64
}

// Flags of a change.
const (
	flagDeleted = 1 << iota
	flagLease
)

// AppendChange appends a change to the payload of a KindLoad or KindReplay, which End… completes.
func AppendChange(dst, key []byte, r *kv.Record) []byte {
	flags := byte(0)
	switch {
	case r.Deleted:
		flags = flagDeleted
	case r.Lease != 0:
		flags = flagLease
	}
	dst = binary.AppendUvarint(binary.AppendUvarint(dst, uint64(r.Mod.Main)), uint64(r.Mod.Sub))
	dst = codec.AppendBytes(append(dst, flags), key)
	if r.Deleted {
		return dst
	}
	dst = binary.AppendUvarint(binary.AppendUvarint(dst, uint64(r.CreateRevision)), uint64(r.Version))
	if r.Lease != 0 {
		dst = binary.BigEndian.AppendUint64(dst, uint64(r.Lease))
	}
	return codec.AppendBytes(dst, r.Value)
}

// Append writes the command's bytes, as docs/formats/migration.md draws them.
func (c *Command) Append(dst []byte) []byte {
	dst = append(dst, byte(c.Kind))
	switch c.Kind {
	case KindBegin:
		dst = binary.BigEndian.AppendUint64(dst, c.Source)
		return codec.AppendText(binary.AppendUvarint(dst, uint64(c.Base)), c.Endpoints)
	case KindLoad:
		complete := byte(0)
		if c.Complete {
			complete = 1
		}
		dst = append(dst, complete)
	case KindReplay:
		dst = binary.AppendUvarint(binary.AppendUvarint(dst, uint64(c.UpTo)), uint64(c.Seen))
	case KindAuth:
		return c.Auth.Append(dst)
	case KindLeases:
		dst = binary.AppendUvarint(dst, uint64(len(c.Leases)))
		for i := range c.Leases {
			l := &c.Leases[i]
			dst = binary.BigEndian.AppendUint64(dst, uint64(l.ID))
			dst = binary.AppendUvarint(binary.AppendUvarint(dst, uint64(l.TTL)), uint64(l.Left))
		}
	case KindFinish:
		dst = binary.AppendUvarint(dst, uint64(c.Revision))
	}
	for i := range c.Changes {
		dst = AppendChange(dst, c.Changes[i].Key, &c.Changes[i].Record)
	}
	return dst
}

// Decode is the inverse of Append. Keys and values point into b.
func Decode(b []byte) (c Command, err error) {
	r := codec.NewReader(b)
	switch c.Kind = Kind(r.Byte()); c.Kind {
	case KindBegin:
		c.Source, c.Base, c.Endpoints = r.Uint64(), int64(r.Uvarint()), r.Text()
		if c.Base < 0 {
			r.Fail("base %d", c.Base)
		}
	case KindLoad:
		flag := r.Byte()
		if c.Complete = flag == 1; flag > 1 {
			r.Fail("flag %d", flag)
		}
		c.Changes = takeChanges(&r)
	case KindReplay:
		c.UpTo, c.Seen = int64(r.Uvarint()), int64(r.Uvarint())
		if c.UpTo < 0 || c.Seen < 0 {
			r.Fail("revision %d of %d", c.UpTo, c.Seen)
		}
		c.Changes = takeChanges(&r)
	case KindAuth:
		c.Auth = auth.TakeRestoration(&r)
	case KindLeases:
		c.Leases = takeLeases(&r)
	case KindFinish:
		c.Revision = int64(r.Uvarint())
	default:
		r.Fail("kind %d", c.Kind)
	}
	if err := r.End(); err != nil {
		return Command{}, fmt.Errorf("%w: command of kind %d: %w", ErrCorrupt, c.Kind, err)
	}
	return c, nil
}

func takeChanges(r *codec.Reader) (changes []Change) {
	last := kv.Revision{}
	for r.Len() > 0 {
		var c Change
		c.Record.Mod = kv.Revision{Main: int64(r.Uvarint()), Sub: int64(r.Uvarint())}
		flags := r.Byte()
		c.Key = r.Bytes()
		rec := &c.Record
		if rec.Deleted = flags == flagDeleted; !rec.Deleted {
			rec.CreateRevision, rec.Version = int64(r.Uvarint()), int64(r.Uvarint())
			if flags == flagLease {
				rec.Lease = kv.LeaseID(r.Uint64())
			}
			rec.Value = r.Bytes()
			if rec.CreateRevision < 1 || rec.CreateRevision > rec.Mod.Main || rec.Version < 1 {
				r.Fail("create revision %d and version %d at revision %d", rec.CreateRevision, rec.Version, rec.Mod.Main)
			}
		}
		if flags > flagLease || rec.Mod.Sub < 0 || rec.Mod.Sub > subMax || !last.Less(rec.Mod) {
			r.Fail("flags %d at revision %d/%d after %d/%d", flags, rec.Mod.Main, rec.Mod.Sub, last.Main, last.Sub)
		}
		if r.Err() != nil {
			return nil
		}
		last = rec.Mod
		changes = append(changes, c)
	}
	return changes
}

// subMax limits the changes of one revision: table r has 4 bytes for them.
const subMax = 1<<32 - 1

func takeLeases(r *codec.Reader) (leases []Lease) {
	for n := r.Count(); n > 0 && r.Err() == nil; n-- {
		l := Lease{ID: kv.LeaseID(r.Uint64()), TTL: int64(r.Uvarint()), Left: int64(r.Uvarint())}
		if l.ID == 0 || l.TTL < 0 || l.Left < 0 {
			r.Fail("lease %x of %d s with %d s left", uint64(l.ID), l.TTL, l.Left)
		}
		leases = append(leases, l)
	}
	return leases
}
