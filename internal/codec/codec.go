// Package codec owns the pieces that the formats of docs/formats are made of: numbers, bytes with
// their length before them, lists. Each format's own package says which pieces follow each other,
// and what they mean.
//
// A number is a uvarint (Go's encoding/binary), a signed one a zigzag varint; one that takes more
// bytes than it needs is read nevertheless. IDs are 8 bytes, big-endian. Bytes and texts are a
// uvarint length and as many bytes. What encoding/binary appends by itself has no name here.
//
// Invariants: no input makes a Reader panic, read beyond its end, or make room for more than the
// input holds. Reading allocates nothing but texts, unless it fails. Once a piece has not been
// there, all later ones are zero.
//
// Concurrency: a Reader belongs to one goroutine.
package codec

import (
	"encoding/binary"
	"fmt"
)

// AppendBytes appends bytes as Reader.Bytes reads them.
func AppendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// AppendText appends a text as Reader.Text reads it.
func AppendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// Reader takes pieces off the front of some bytes, which may be anybody's. So that callers can read
// straight on, what is wrong shows in the end: they ask Err or End before they believe any of what
// was read.
type Reader struct {
	b    []byte // what is left; nothing after an error
	size int    // of all bytes, for the offsets in errors
	err  error
}

// NewReader returns a reader of b. What Take, Bytes and Rest give points into b.
func NewReader(b []byte) Reader { return Reader{b: b, size: len(b)} }

// Len returns how many bytes are left. After an error none are.
func (r *Reader) Len() int { return len(r.b) }

// Err returns what was wrong with the first piece that could not be read, and where it stood; nil
// if nothing was.
func (r *Reader) Err() error { return r.err }

// End is Err for a format behind which nothing follows: it takes bytes that are left for an error,
// too.
func (r *Reader) End() error {
	if len(r.b) > 0 {
		r.Fail("%d bytes too many", len(r.b))
	}
	return r.err
}

// Fail says what is wrong with what was read, when the pieces are there but cannot be so. The error
// names the reader's place, behind them; only the first error counts.
func (r *Reader) Fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("byte %d of %d: %w", r.size-len(r.b), r.size, fmt.Errorf(format, args...))
	}
	r.b = nil
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if len(r.b) == 0 {
		r.Fail("a byte is missing")
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

// Uvarint reads a number.
func (r *Reader) Uvarint() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 { // most are
		v := r.b[0]
		r.b = r.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.b)
	switch {
	case n > 0:
		r.b = r.b[n:]
		return v
	case n == 0:
		r.Fail("a number is cut short")
	default:
		r.Fail("a number of more than 64 bits")
	}
	return 0
}

// Varint reads a signed number.
func (r *Reader) Varint() int64 {
	v := r.Uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

// Uint64 reads 8 bytes, big-endian.
func (r *Reader) Uint64() uint64 {
	if len(r.b) < 8 {
		r.Fail("%d bytes, want 8", len(r.b))
		return 0
	}
	v := binary.BigEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

// Take reads n bytes.
func (r *Reader) Take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.Fail("%d bytes, want %d", len(r.b), n)
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// Bytes reads a length and as many bytes.
func (r *Reader) Bytes() []byte { return r.Take(r.Uvarint()) }

// Text is Bytes for a string, a copy.
func (r *Reader) Text() string { return string(r.Take(r.Uvarint())) }

// Rest reads all that is left.
func (r *Reader) Rest() []byte {
	v := r.b
	r.b = r.b[len(r.b):]
	return v
}

// Count reads how many items a list has, each of which takes a byte or more: what the bytes that
// are left cannot hold is an error, so that a caller may make room for as many.
func (r *Reader) Count() int {
	n := r.Uvarint()
	if n > uint64(len(r.b)) {
		r.Fail("a list of %d items in %d bytes", n, len(r.b))
		return 0
	}
	return int(n)
}
