package http2

import (
	"strconv"

	"cairn/internal/invariant"
)

// IndexedField is a header field that the encoder may put into the client's dynamic table, so that
// it costs one byte from its second use on. A protocol makes one per field, not one per response.
type IndexedField struct{ Name, Value string }

// indexedMax is the number of IndexedFields that a connection's encoder puts into the client's
// table. All other fields are sent as literals without indexing.
const indexedMax = 4

// encoder is the HPACK state of a connection's responses.
type encoder struct {
	tableMax  int // the smallest table that the peer has allowed
	resize    bool
	indexed   [indexedMax]*IndexedField // in order of insertion
	count     int
	tableSize int
}

const (
	firstDynamic = 62 // index of the newest entry of the dynamic table (RFC 7541, 2.3.3)
	entryBytes   = 32 // overhead of an entry (RFC 7541, 4.1)
)

// limit applies a lower SETTINGS_HEADER_TABLE_SIZE of the peer. The encoder never needs more than
// the default, so it ignores an increase.
func (e *encoder) limit(n uint32) {
	if int64(n) >= int64(e.tableMax) {
		return
	}
	e.tableMax, e.resize = int(n), true
	if e.tableMax < e.tableSize {
		// Which entries were evicted does not matter: the remaining ones are no longer used. New
		// ones would get their indexes, so stop indexing.
		e.count, e.tableSize, e.tableMax = 0, 0, 0
	}
}

// begin starts a header block.
func (e *encoder) begin(b []byte) []byte {
	if e.resize {
		e.resize = false
		b = appendInt(b, 0x20, 5, e.tableMax)
	}
	return b
}

// field appends f by its index, or inserts it into the client's table when there is space.
func (e *encoder) field(b []byte, f *IndexedField) []byte {
	for i := range e.count {
		if e.indexed[i] == f {
			return append(b, 0x80|byte(firstDynamic+e.count-1-i))
		}
	}
	size := entryBytes + len(f.Name) + len(f.Value)
	if e.count == indexedMax || e.tableSize+size > e.tableMax {
		return AppendField(b, f.Name, f.Value)
	}
	e.indexed[e.count] = f
	e.count++
	e.tableSize += size
	b = append(b, 0x40)
	b = appendString(b, f.Name)
	return appendString(b, f.Value)
}

// AppendField appends a literal field that is not put into a table.
func AppendField(b []byte, name, value string) []byte {
	b = append(b, 0)
	b = appendString(b, name)
	return appendString(b, value)
}

// AppendStatus appends the :status pseudo-header.
func AppendStatus(b []byte, code int) []byte {
	if code == 200 {
		return append(b, 0x88)
	}
	b = append(b, 0x08) // literal, name 8 of the static table
	return appendString(b, strconv.Itoa(code))
}

func appendString(b []byte, s string) []byte {
	b = appendInt(b, 0, 7, len(s))
	return append(b, s...)
}

// appendInt appends an integer with a prefix of the given number of bits (RFC 7541, 5.1).
func appendInt(b []byte, first byte, bits uint8, v int) []byte {
	limit := 1<<bits - 1
	if v < limit {
		return append(b, first|byte(v))
	}
	b = append(b, first|byte(limit))
	for v -= limit; v >= 0x80; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}

// Sendable reports whether a field with this name and value may be part of a response: the name is
// a lower-case token that does not belong to HTTP/1's connection management.
func Sendable(name, value string) bool {
	switch kindOf(name) {
	case fieldOther, fieldContentType, fieldContentLength, fieldHost:
		return validValue(value)
	}
	return false
}

// BeginLocked starts a header block in a buffer of the connection. Append fields to it by
// AppendField, AppendStatus and AppendIndexedLocked, then call HeadersLocked.
func (st *Stream) BeginLocked() []byte {
	if invariant.Enabled && st.conn.mu.TryLock() {
		invariant.Violated("a header block is begun without the connection's lock")
	}
	o := &st.conn.out
	return o.hpack.begin(o.block[:0])
}

// AppendIndexedLocked appends f to a block.
func (st *Stream) AppendIndexedLocked(b []byte, f *IndexedField) []byte {
	return st.conn.out.hpack.field(b, f)
}

// HeadersLocked appends a HEADERS frame with the block, with END_STREAM if end is set.
func (st *Stream) HeadersLocked(block []byte, end bool) {
	o := &st.conn.out
	o.block = block
	flags := uint8(0)
	if end {
		flags = flagEndStream
	}
	o.headers(st.id, block, flags)
	st.conn.markProgress()
}

// EmptyDataLocked appends an empty DATA frame with END_STREAM.
func (st *Stream) EmptyDataLocked() {
	o := &st.conn.out
	o.buf = appendFrameHeader(o.buf, 0, frameData, flagEndStream, st.id)
}

// headers appends a HEADERS frame, and CONTINUATIONs when the block is longer than a frame.
func (o *output) headers(id uint32, block []byte, flags uint8) {
	typ := frameHeaders
	for {
		n := min(len(block), o.peerFrame)
		f := flags
		if n == len(block) {
			f |= flagEndHeaders
		}
		o.buf = appendFrameHeader(o.buf, n, typ, f, id)
		o.buf = append(o.buf, block[:n]...)
		if block = block[n:]; len(block) == 0 {
			return
		}
		typ, flags = frameContinuation, 0
	}
}
