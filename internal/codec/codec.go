// Package codec encodes and decodes the primitives of the formats in docs/formats: numbers,
// length-prefixed bytes, lists. The package of each format defines the order of the primitives and
// their meaning.
//
// A number is a uvarint (Go's encoding/binary), a signed number a zigzag varint; encodings longer
// than necessary are accepted. IDs are 8 bytes, big-endian. Bytes and texts are a uvarint length
// followed by that many bytes. Values that encoding/binary appends directly have no function here.
//
// Invariants: no input makes a Reader panic, read beyond its end, or allocate more than the input's
// length. Without an error, reading allocates only texts. After the first failed read, all later
// reads return zero values. FuzzReader checks all of them.
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

// Reader decodes values from the front of a byte slice, which may be untrusted. Methods return no
// errors: after the last read the caller must check Err or End before it uses any of the values.
type Reader struct {
	b    []byte // the unread rest; nil after an error
	size int    // length of the whole input, for the offsets in errors
	err  error
}

// NewReader returns a reader of b. The slices that Take, Bytes and Rest return alias b.
func NewReader(b []byte) Reader { return Reader{b: b, size: len(b)} }

// Len returns the number of unread bytes; 0 after an error.
func (r *Reader) Len() int { return len(r.b) }

// Err returns the first error, with its offset in the input, or nil.
func (r *Reader) Err() error { return r.err }

// End is Err for the end of the input: unread bytes are an error, too.
func (r *Reader) End() error {
	if len(r.b) > 0 {
		r.Fail("%d bytes too many", len(r.b))
	}
	return r.err
}

// Fail records an error about values that were read but are invalid. The error names the offset
// behind them. Only the first error is kept.
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
	if len(r.b) > 0 && r.b[0] < 0x80 { // most numbers are one byte
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

// Text is Bytes that returns a copy as a string.
func (r *Reader) Text() string { return string(r.Take(r.Uvarint())) }

// Rest reads all remaining bytes.
func (r *Reader) Rest() []byte {
	v := r.b
	r.b = r.b[len(r.b):]
	return v
}

// Count reads the number of items of a list whose items take at least one byte each. More items
// than bytes remain is an error, so a caller may allocate that many items.
func (r *Reader) Count() int {
	n := r.Uvarint()
	if n > uint64(len(r.b)) {
		r.Fail("a list of %d items in %d bytes", n, len(r.b))
		return 0
	}
	return int(n)
}
