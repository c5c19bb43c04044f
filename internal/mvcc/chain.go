package mvcc

import (
	"encoding/binary"

	"cairn/internal/codec"
	"cairn/internal/kv"
)

// chain is the part of a value of table c that locates the older events of its key. It replaces an
// index by key and revision.
//
// The events of a key are numbered from 1; the number is the event's depth. Each event has the
// revision of the event before it (depth d-1), and its jump: the revision of the event whose depth
// is d with the lowest set bit cleared. By jumps and steps a reader reaches any event in O(log² d)
// reads, instead of d. For example, from depth 13 (1101b):
//
//	13 jumps to 12 (1100b), 12 to 8 (1000b), 8 to none
//	13 steps to 12, 12 to 11, 11 (1011b) jumps to 10, 10 to 8
//
// To give the next event its jump, the record in c carries the revisions on the jump path of the
// newest event: at most one per set bit of its depth. A path ends at the compaction: revisions at
// or before it are dropped, since no reader follows them.
type chain struct {
	depth uint64
	// path has the revisions at the depths depth&(depth-1), and so on downwards, newest first.
	path []kv.Revision
}

// chainPathMax is the maximum number of set bits of a depth.
const chainPathMax = 64

// next returns the chain of the event that follows the one at mod, and the new event's jump (zero
// when it has none). c is the chain of the event at mod. The path uses room when it is large
// enough.
func (c chain) next(room []kv.Revision, mod kv.Revision, compactRevision int64) (chain, kv.Revision) {
	n := chain{depth: c.depth + 1}
	// The new path is the part of (mod, c.path...) at depths that are prefixes of the new depth:
	// drop one revision per trailing one bit of the old depth.
	drop := 0
	for d := c.depth; d&1 == 1; d >>= 1 {
		drop++
	}
	full := append(append(room, mod), c.path...)
	if drop < len(full) {
		n.path = full[drop:]
	}
	for len(n.path) > 0 && n.path[len(n.path)-1].Main <= compactRevision {
		n.path = n.path[:len(n.path)-1]
	}
	if len(n.path) == 0 {
		return n, kv.Revision{}
	}
	return n, n.path[0]
}

// append appends the depth and the path, each revision as its distance from the one before it.
func (c chain) append(dst []byte, mod kv.Revision) []byte {
	dst = binary.AppendUvarint(dst, c.depth)
	dst = binary.AppendUvarint(dst, uint64(len(c.path)))
	for _, rev := range c.path {
		dst = binary.AppendUvarint(dst, uint64(mod.Main-rev.Main))
		dst = binary.AppendUvarint(dst, uint64(rev.Sub))
		mod = rev
	}
	return dst
}

func decodeChain(d *codec.Reader, mod kv.Revision) chain { return decodeChainInto(nil, d, mod) }

// decodeChainInto is decodeChain with a path that uses room when it is large enough.
func decodeChainInto(room []kv.Revision, d *codec.Reader, mod kv.Revision) chain {
	c := chain{depth: d.Uvarint()}
	n := d.Uvarint()
	if n > chainPathMax {
		d.Fail("a chain of %d", n)
		return c
	}
	if c.path = room[:0]; uint64(cap(room)) < n {
		c.path = make([]kv.Revision, 0, n)
	}
	c.path = c.path[:n]
	for i := range c.path {
		c.path[i] = kv.Revision{Main: mod.Main - int64(d.Uvarint()), Sub: int64(d.Uvarint())}
		if !c.path[i].Less(mod) || c.path[i].Main <= 0 {
			d.Fail("revision %v in the chain of %v", c.path[i], mod)
			break
		}
		mod = c.path[i]
	}
	return c
}

func skipChain(d *codec.Reader) {
	d.Uvarint()
	n := d.Uvarint()
	for ; n > 0 && d.Err() == nil; n-- {
		d.Uvarint()
		d.Uvarint()
	}
}
