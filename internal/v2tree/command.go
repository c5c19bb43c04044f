package v2tree

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"cairn/internal/codec"
	"cairn/internal/kv"
)

// ErrBadCommand is wrapped by the errors of Decode.
var ErrBadCommand = kv.NewRefusal("bad v2 command")

// Kind is the operation of a command. The values are stored; never renumber them.
type Kind byte

// The kinds of commands.
const (
	KindSet              Kind = 1 // put a key or directory, replacing a key
	KindCreate           Kind = 2 // put a key or directory that must not exist
	KindCreateInOrder    Kind = 3 // create below Path, named by the new revision
	KindUpdate           Kind = 4 // change a node that exists
	KindCompareAndSwap   Kind = 5 // change a key if it matches Prev…
	KindDelete           Kind = 6
	KindCompareAndDelete Kind = 7
	// KindExpire removes a key, or a directory with all below it, whose deadline
	// is still Deadline and has passed. The leader proposes it; see Due.
	KindExpire Kind = 8
)

// Command is one write of the v2 dialect. Fields that its kind does not use are ignored.
type Command struct {
	Kind  Kind
	Path  []byte // see ValidPath
	Value []byte // of a key; also of an update, which refuses one for a directory

	Dir       bool // make a directory; delete one if it is empty; expire one
	Recursive bool // delete a directory with all below it
	Refresh   bool // keep the value; watchers get no event

	// TTL is how long the node lives from now on, when HasTTL is set; zero or negative makes it
	// expire at once. Without HasTTL the node does not expire.
	HasTTL bool
	TTL    time.Duration

	// PrevValue, unless empty, and PrevIndex, unless 0, are the value and the modified index that a
	// compare requires.
	PrevValue []byte
	PrevIndex uint64

	Deadline kv.ClusterTime // see KindExpire
}

const commandVersion = 1

// commandNumbersMax is the maximum size of a command without paths and values: version, kind, flags
// and five numbers.
const commandNumbersMax = 3 + 5*binary.MaxVarintLen64

// Flags of a command's bytes, drawn in docs/formats/v2.md.
const (
	flagDir = 1 << iota
	flagRecursive
	flagRefresh
	flagTTL
	flagPrevIndex
	flagPrevValue
	flagDeadline

	flagsKnown = 1<<iota - 1
)

// Append appends the command's bytes to dst.
func (c *Command) Append(dst []byte) []byte {
	var flags byte
	set := func(on bool, f byte) {
		if on {
			flags |= f
		}
	}
	set(c.Dir, flagDir)
	set(c.Recursive, flagRecursive)
	set(c.Refresh, flagRefresh)
	set(c.HasTTL, flagTTL)
	set(c.PrevIndex != 0, flagPrevIndex)
	set(len(c.PrevValue) > 0, flagPrevValue)
	set(c.Deadline != 0, flagDeadline)
	dst = slices.Grow(dst, len(c.Path)+len(c.PrevValue)+len(c.Value)+commandNumbersMax)
	dst = append(dst, commandVersion, byte(c.Kind), flags)
	dst = codec.AppendBytes(dst, c.Path)
	if flags&flagTTL != 0 {
		dst = binary.AppendVarint(dst, int64(c.TTL))
	}
	if flags&flagPrevIndex != 0 {
		dst = binary.AppendUvarint(dst, c.PrevIndex)
	}
	if flags&flagPrevValue != 0 {
		dst = codec.AppendBytes(dst, c.PrevValue)
	}
	if flags&flagDeadline != 0 {
		dst = binary.AppendVarint(dst, int64(c.Deadline))
	}
	return append(dst, c.Value...)
}

// Decode is the inverse of Append. Path and values alias b.
func Decode(b []byte) (c Command, err error) {
	r := codec.NewReader(b)
	if version := r.Byte(); version != commandVersion {
		r.Fail("version %d, this cairn reads version %d; a newer cairn has written it", version, commandVersion)
	}
	c.Kind = Kind(r.Byte())
	flags := r.Byte()
	if c.Kind < KindSet || c.Kind > KindExpire || flags&^flagsKnown != 0 {
		r.Fail("kind %d with flags %#x", c.Kind, flags)
	}
	c.Dir = flags&flagDir != 0
	c.Recursive = flags&flagRecursive != 0
	c.Refresh = flags&flagRefresh != 0
	c.HasTTL = flags&flagTTL != 0
	c.Path = r.Bytes()
	if c.HasTTL {
		c.TTL = time.Duration(r.Varint())
	}
	if flags&flagPrevIndex != 0 {
		c.PrevIndex = r.Uvarint()
	}
	if flags&flagPrevValue != 0 {
		c.PrevValue = r.Bytes()
	}
	if flags&flagDeadline != 0 {
		c.Deadline = kv.ClusterTime(r.Varint())
	}
	c.Value = r.Rest()
	if !ValidPath(c.Path) {
		r.Fail("path %q", c.Path)
	}
	if err := r.Err(); err != nil {
		return c, fmt.Errorf("%w: %w", ErrBadCommand, err)
	}
	return c, nil
}
