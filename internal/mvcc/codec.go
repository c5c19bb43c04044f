package mvcc

import (
	"encoding/binary"
	"fmt"

	"cairn/internal/codec"
	"cairn/internal/kv"
)

// The bytes of table c's values and table r's values are drawn in
// docs/formats/state-store.md; this file is their only encoder and decoder.

// Flags of a version, shared by both tables.
const (
	flagDeleted  = 1 << 0 // a tombstone: nothing but the mod revision follows
	flagLease    = 1 << 1
	flagDeadline = 1 << 2
	flagSub      = 1 << 3 // the mod revision has a sub
	flagChain    = 1 << 4 // table c: a chain follows; table r: a jump follows
	flagPrev     = 1 << 5 // table r: a replaced version follows
	flagDir      = 1 << 6 // table r: the event changes a v2 directory
	flagPrevGone = 1 << 7 // table r: the replaced version's value was dropped
)

// node is a value of table c: the newest record of a key and the chain to its older events.
type node struct {
	kv.Record
	chain chain
}

// event is a value of table r, with its revision and key.
type event struct {
	kv.Event
	jump kv.Revision // see chain
	node []byte      // the value of table c that the event made, while its batch is open
}

func appendRevision(dst []byte, rev kv.Revision, flags byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(rev.Main))
	if flags&flagSub != 0 {
		dst = binary.AppendUvarint(dst, uint64(rev.Sub))
	}
	return dst
}

func versionFlags(r *kv.Record) (flags byte) {
	if r.Mod.Sub != 0 {
		flags |= flagSub
	}
	if r.Deleted {
		return flags | flagDeleted
	}
	if r.Lease != 0 {
		flags |= flagLease
	}
	if r.Deadline != 0 {
		flags |= flagDeadline
	}
	return flags
}

// appendFacts appends the fields of a live version other than revision and value.
func appendFacts(dst []byte, r *kv.Record) []byte {
	dst = binary.AppendUvarint(dst, uint64(r.CreateRevision))
	dst = binary.AppendUvarint(dst, uint64(r.Version))
	if r.Lease != 0 {
		dst = binary.BigEndian.AppendUint64(dst, uint64(r.Lease))
	}
	if r.Deadline != 0 {
		dst = binary.AppendUvarint(dst, uint64(r.Deadline))
	}
	return dst
}

// appendNode appends the value of table c.
func appendNode(dst []byte, n *node) []byte {
	flags := versionFlags(&n.Record)
	if n.chain.depth > 1 {
		flags |= flagChain
	}
	dst = append(dst, flags)
	dst = appendRevision(dst, n.Mod, flags)
	if flags&flagChain != 0 {
		dst = n.chain.append(dst, n.Mod)
	}
	if n.Deleted {
		return dst
	}
	return append(appendFacts(dst, &n.Record), n.Value...)
}

func takeRevision(d *codec.Reader, flags byte) kv.Revision {
	rev := kv.Revision{Main: int64(d.Uvarint())}
	if flags&flagSub != 0 {
		rev.Sub = int64(d.Uvarint())
	}
	return rev
}

// takeFacts is the inverse of appendFacts.
func takeFacts(d *codec.Reader, flags byte, r *kv.Record) {
	r.CreateRevision = int64(d.Uvarint())
	r.Version = int64(d.Uvarint())
	if flags&flagLease != 0 {
		r.Lease = kv.LeaseID(d.Uint64())
	}
	if flags&flagDeadline != 0 {
		r.Deadline = kv.ClusterTime(d.Uvarint())
	}
}

// decodeRecord decodes a value of table c without its chain. The record's value aliases b.
func decodeRecord(b []byte) (r kv.Record, err error) {
	d := codec.NewReader(b)
	flags := d.Byte()
	r.Mod = takeRevision(&d, flags)
	if flags&flagChain != 0 {
		skipChain(&d)
	}
	if flags&flagDeleted != 0 {
		r.Deleted = true
	} else {
		takeFacts(&d, flags, &r)
		r.Value = d.Rest()
	}
	if err := d.Err(); err != nil {
		return r, fmt.Errorf("%w: current record %x: %w", ErrCorrupt, head(b), err)
	}
	return r, nil
}

// decodeNode decodes a value of table c. The record's value aliases b.
func decodeNode(b []byte) (n node, err error) { return decodeNodeInto(nil, b) }

// decodeNodeInto is decodeNode with a chain whose path uses room when it is large enough.
func decodeNodeInto(room []kv.Revision, b []byte) (n node, err error) {
	d := codec.NewReader(b)
	flags := d.Byte()
	n.Mod = takeRevision(&d, flags)
	n.chain.depth = 1
	if flags&flagChain != 0 {
		n.chain = decodeChainInto(room, &d, n.Mod)
	}
	if flags&flagDeleted != 0 {
		n.Deleted = true
	} else {
		takeFacts(&d, flags, &n.Record)
		n.Value = d.Rest()
	}
	if err := d.Err(); err != nil {
		return n, fmt.Errorf("%w: current record %x: %w", ErrCorrupt, head(b), err)
	}
	return n, nil
}

// appendEvent appends the value of table r. The revision of the new version is
// in the key.
func appendEvent(dst []byte, e *event) []byte {
	flags := versionFlags(&e.Record) &^ flagSub
	if !e.Prev.Mod.IsZero() {
		flags |= flagPrev
	}
	if !e.jump.IsZero() {
		flags |= flagChain
	}
	if e.Dir {
		flags |= flagDir
	}
	if e.PrevGone {
		flags |= flagPrevGone
	}
	dst = append(dst, flags, byte(e.Action))
	dst = codec.AppendBytes(dst, e.Key)
	if flags&flagChain != 0 {
		dst = appendRevision(dst, e.jump, flagSub)
	}
	if flags&flagDeleted == 0 {
		dst = codec.AppendBytes(appendFacts(dst, &e.Record), e.Record.Value)
	}
	if flags&flagPrev != 0 {
		pflags := versionFlags(&e.Prev)
		dst = append(dst, pflags)
		dst = appendRevision(dst, e.Prev.Mod, pflags)
		if !e.Prev.Deleted {
			dst = append(appendFacts(dst, &e.Prev), e.Prev.Value...)
		}
	}
	return dst
}

// decodeEvent decodes a value of table r. Key and values alias b.
func decodeEvent(rev kv.Revision, b []byte) (e event, err error) {
	d := codec.NewReader(b)
	flags := d.Byte()
	e.Action = kv.Action(d.Byte())
	e.Dir, e.PrevGone = flags&flagDir != 0, flags&flagPrevGone != 0
	e.Key = d.Bytes()
	e.Record.Mod = rev
	if flags&flagChain != 0 {
		e.jump = takeRevision(&d, flagSub)
	}
	if flags&flagDeleted != 0 {
		e.Type, e.Record.Deleted = kv.EventDelete, true
	} else {
		takeFacts(&d, flags, &e.Record)
		e.Record.Value = d.Bytes()
	}
	if flags&flagPrev != 0 {
		pflags := d.Byte()
		e.Prev.Mod = takeRevision(&d, pflags)
		if pflags&flagDeleted != 0 {
			e.Prev.Deleted = true
		} else {
			takeFacts(&d, pflags, &e.Prev)
			e.Prev.Value = d.Rest()
		}
	}
	if err := d.Err(); err != nil {
		return e, fmt.Errorf("%w: event %v %x: %w", ErrCorrupt, rev, head(b), err)
	}
	return e, nil
}

// head returns the first bytes of b, for error texts.
func head(b []byte) []byte { return b[:min(len(b), 32)] }
