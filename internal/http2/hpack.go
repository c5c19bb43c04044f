package http2

import (
	"bytes"
	"errors"

	"golang.org/x/net/http2/hpack"
)

// headerTableSize is the size of the dynamic table that peers may use: the protocol's default, so
// that no SETTINGS value has to be synchronised.
const headerTableSize = 4096

var (
	errHPACK          = errors.New("invalid header block")
	errLateUpdate     = errors.New("table size update within a header block")
	errHeadersTooLong = errors.New("header list larger than the limit")
)

// fieldKind classifies a header name, so that a request's headers are processed by an integer
// switch instead of string comparisons for every request.
type fieldKind uint8

const (
	fieldOther fieldKind = iota
	fieldMethod
	fieldScheme
	fieldPath
	fieldAuthority
	fieldHost
	fieldContentType
	fieldContentLength
	fieldTE
	fieldForbidden
	fieldInvalid
)

// Field is one decoded header field. Fields in the dynamic table keep their strings, so an indexed
// field costs no allocation.
type Field struct {
	Name, Value string
	kind        fieldKind
}

// size is the field's size as RFC 7541 (4.1) counts it.
func (f *Field) size() int { return len(f.Name) + len(f.Value) + 32 }

// hpackDecoder decodes header blocks (RFC 7541). golang.org/x/net's decoder passes each field to a
// callback and allocates for the table's bookkeeping; this decoder appends to a slice that the
// connection reuses and classifies each name once, when it is put into the table.
//
// The dynamic table is a ring: entry i (0 = newest) is ring[(head-i)&mask].
type hpackDecoder struct {
	ring    []Field
	head, n int
	size    int
	sizeMax int
	huff    bytes.Buffer
	// changes counts everything that may change the meaning of a block: insertions and resizings.
	// Two equal blocks have the same meaning while it does not change.
	changes uint64
}

func newHPACKDecoder() *hpackDecoder {
	return &hpackDecoder{ring: make([]Field, 32), sizeMax: headerTableSize}
}

// decode appends the fields of block to dst. It fails with errHPACK for a block that breaks the
// compression state (the connection must end) and with errHeadersTooLong when the list exceeds
// limit bytes as SETTINGS_MAX_HEADER_LIST_SIZE counts them; then dst has the fields before the
// limit, and the whole block has been read, so the connection can continue.
func (d *hpackDecoder) decode(dst []Field, block []byte, limit int) ([]Field, error) {
	total, started := 0, false
	for len(block) > 0 {
		b := block[0]
		if b&0xe0 == 0x20 { // dynamic table size update
			n, rest, ok := hpackInt(block, 5)
			if started {
				return dst, errLateUpdate // RFC 7541, 4.2
			}
			if !ok || n > headerTableSize {
				return dst, errHPACK
			}
			d.sizeMax = n
			d.changes++
			d.evict(0)
			block = rest
			continue
		}
		started = true
		var f Field
		var ok bool
		if b&0x80 != 0 {
			var n int
			n, block, ok = hpackInt(block, 7)
			if !ok {
				return dst, errHPACK
			}
			var p *Field
			if p = d.at(n); p == nil {
				return dst, errHPACK
			}
			f = *p
		} else if f, block, ok = d.literal(block); !ok {
			return dst, errHPACK
		}
		total += f.size()
		if total <= limit {
			dst = append(dst, f)
		}
	}
	if total > limit {
		return dst, errHeadersTooLong
	}
	return dst, nil
}

// literal decodes a literal field, with or without indexing.
func (d *hpackDecoder) literal(block []byte) (f Field, rest []byte, ok bool) {
	indexed := block[0]&0xc0 == 0x40
	prefix := uint8(4)
	if indexed {
		prefix = 6
	}
	n, rest, ok := hpackInt(block, prefix)
	if !ok {
		return f, nil, false
	}
	if n > 0 {
		p := d.at(n)
		if p == nil {
			return f, nil, false
		}
		f.Name, f.kind = p.Name, p.kind
		if f.kind == fieldInvalid { // possibly only the entry's value was invalid
			f.kind = kindOf(f.Name)
		}
	} else {
		if f.Name, rest, ok = d.str(rest); !ok {
			return f, nil, false
		}
		f.kind = kindOf(f.Name)
	}
	if f.Value, rest, ok = d.str(rest); !ok {
		return f, nil, false
	}
	if !validValue(f.Value) {
		f.kind = fieldInvalid
	}
	if indexed {
		d.insert(f)
	}
	return f, rest, true
}

func (d *hpackDecoder) str(b []byte) (s string, rest []byte, ok bool) {
	if len(b) == 0 {
		return "", nil, false
	}
	huffman := b[0]&0x80 != 0
	n, rest, ok := hpackInt(b, 7)
	if !ok || n > len(rest) {
		return "", nil, false
	}
	raw := rest[:n]
	rest = rest[n:]
	if !huffman {
		return string(raw), rest, true
	}
	d.huff.Reset()
	if _, err := hpack.HuffmanDecode(&d.huff, raw); err != nil {
		return "", nil, false
	}
	return d.huff.String(), rest, true
}

// at returns the field with index n, nil when there is none.
func (d *hpackDecoder) at(n int) *Field {
	if n <= 0 {
		return nil
	}
	if n <= len(staticTable) {
		return &staticTable[n-1]
	}
	n -= len(staticTable) + 1
	if n >= d.n {
		return nil
	}
	return &d.ring[(d.head-n)&(len(d.ring)-1)]
}

func (d *hpackDecoder) insert(f Field) {
	d.changes++
	d.evict(f.size())
	if f.size() > d.sizeMax {
		return // evict has emptied the table, as RFC 7541 (4.4) requires
	}
	if d.n == len(d.ring) {
		d.grow()
	}
	d.head = (d.head + 1) & (len(d.ring) - 1)
	d.ring[d.head] = f
	d.n++
	d.size += f.size()
}

// evict drops the oldest entries until add more bytes fit.
func (d *hpackDecoder) evict(add int) {
	for d.n > 0 && d.size+add > d.sizeMax {
		oldest := &d.ring[(d.head-d.n+1)&(len(d.ring)-1)]
		d.size -= oldest.size()
		*oldest = Field{}
		d.n--
	}
}

func (d *hpackDecoder) grow() {
	ring := make([]Field, 2*len(d.ring))
	for i := range d.n {
		ring[d.n-1-i] = d.ring[(d.head-i)&(len(d.ring)-1)]
	}
	d.ring, d.head = ring, d.n-1
}

// hpackInt decodes an integer with an n-bit prefix (RFC 7541, 5.1).
func hpackInt(b []byte, n uint8) (v int, rest []byte, ok bool) {
	if len(b) == 0 {
		return 0, nil, false
	}
	limit := 1<<n - 1
	v = int(b[0]) & limit
	b = b[1:]
	if v < limit {
		return v, b, true
	}
	for shift := 0; len(b) > 0 && shift <= 28; shift += 7 {
		c := b[0]
		b = b[1:]
		v += int(c&0x7f) << shift
		if c&0x80 == 0 {
			return v, b, true
		}
	}
	return 0, nil, false
}

func kindOf(name string) fieldKind {
	switch name {
	case ":method":
		return fieldMethod
	case ":scheme":
		return fieldScheme
	case ":path":
		return fieldPath
	case ":authority":
		return fieldAuthority
	case "host":
		return fieldHost
	case "content-type":
		return fieldContentType
	case "content-length":
		return fieldContentLength
	case "te":
		return fieldTE
	case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
		return fieldForbidden
	}
	if !validName(name) {
		return fieldInvalid
	}
	return fieldOther
}

// validName reports whether name is a lower-case token (RFC 9113, 8.2.1). Unknown pseudo-headers
// are invalid too.
func validName(name string) bool {
	if name == "" {
		return false
	}
	for i := range len(name) {
		if !nameByte[name[i]] {
			return false
		}
	}
	return true
}

func validValue(v string) bool {
	for i := range len(v) {
		if c := v[i]; c == 0 || c == '\r' || c == '\n' {
			return false
		}
	}
	return true
}

var nameByte = func() (t [256]bool) {
	for _, c := range "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz" {
		t[c] = true
	}
	return t
}()
