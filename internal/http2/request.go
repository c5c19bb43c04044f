package http2

import (
	"bytes"
	"strconv"
)

// Request is a request's header section. The reader owns it: it is valid only during
// ConnHandler.Open, but the strings in it may be kept.
type Request struct {
	Method, Scheme, Path string
	// Authority is the :authority pseudo-header, or the host field of a request that has none.
	Authority   string
	ContentType string
	// ContentLength is -1 when the client did not declare one.
	ContentLength int64
	// Fields are the regular fields in order of arrival, without host and te.
	Fields []Field
	// TooLarge is set when the header list exceeds the limit; then Fields and the other values are
	// those before the limit, and may be missing.
	TooLarge bool
	// Exhausted is set when there is no memory for the request: the protocol must refuse it.
	Exhausted bool
	// EndStream is set when no body follows.
	EndStream bool
	// Keep is set when it is useful to set Memo: later requests may have the same header block
	// with the same meaning.
	Keep bool
	// Memo is nil at first. A value that Open stores in it is in every later request of the
	// connection whose header block is equal; then Fields is nil.
	Memo any

	size int // memory of the fields; 0 when Memo is reused
}

// fieldBytes is the memory of a decoded field in addition to its size in RFC 7541 (4.1).
const fieldBytes = 16

// parse stores fields in r. It reports false for a malformed request (RFC 9113, 8.1.1).
func (r *Request) parse(fields []Field) bool {
	visible := r.Fields[:0]
	*r = Request{ContentLength: -1}
	var host, te string
	var seen uint32
	regular := false
	for i := range fields {
		f := &fields[i]
		r.size += f.size() + fieldBytes
		if f.kind >= fieldMethod && f.kind <= fieldAuthority {
			// Pseudo-headers come first and once.
			if regular || seen&(1<<f.kind) != 0 {
				return false
			}
			seen |= 1 << f.kind
		} else {
			regular = true
		}
		switch f.kind {
		case fieldMethod:
			r.Method = f.Value
		case fieldScheme:
			r.Scheme = f.Value
		case fieldPath:
			r.Path = f.Value
		case fieldAuthority:
			r.Authority = f.Value
		case fieldHost:
			if seen&(1<<fieldHost) != 0 {
				return false
			}
			seen |= 1 << fieldHost
			host = f.Value
		case fieldTE:
			te = f.Value
		case fieldForbidden, fieldInvalid:
			return false
		default:
			if f.kind == fieldContentType {
				r.ContentType = f.Value
			}
			if f.kind == fieldContentLength && !r.declare(f.Value) {
				return false
			}
			visible = append(visible, *f)
		}
	}
	r.Fields = visible
	if r.Method == "" || r.Method == "CONNECT" || r.Scheme == "" || r.Path == "" || (te != "" && te != "trailers") {
		return false
	}
	if r.Authority == "" {
		r.Authority = host
	}
	return true
}

// declare parses a content-length. Several must be equal (RFC 9110, 8.6).
func (r *Request) declare(v string) bool {
	n, err := strconv.ParseUint(v, 10, 63)
	if err != nil || (r.ContentLength >= 0 && r.ContentLength != int64(n)) {
		return false
	}
	r.ContentLength = int64(n)
	return true
}

// memoBlockMax excludes header blocks with literals, which are rarely sent twice.
const memoBlockMax = 64

// memos caches the meaning of the last few header blocks. A client that repeats requests sends the
// same bytes again, all of them indexes into the compression table, and while the table is
// unchanged they have the same meaning.
type memos struct {
	changes uint64 // the value of the decoder's changes at which the entries are valid
	entries [4]struct {
		block []byte
		req   Request
	}
	next int
}

func (m *memos) get(block []byte, changes uint64) *Request {
	if m.changes != changes {
		return nil
	}
	for i := range m.entries {
		if e := &m.entries[i]; len(e.block) > 0 && bytes.Equal(e.block, block) {
			return &e.req
		}
	}
	return nil
}

func (m *memos) put(block []byte, changes uint64, req *Request) {
	if m.changes != changes {
		for i := range m.entries {
			m.entries[i].block = m.entries[i].block[:0]
		}
		m.changes = changes
	}
	e := &m.entries[m.next]
	m.next = (m.next + 1) % len(m.entries)
	e.block, e.req = append(e.block[:0], block...), *req
	e.req.Fields, e.req.size = nil, 0
}
