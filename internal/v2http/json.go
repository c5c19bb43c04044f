package v2http

import (
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"cairn/internal/v2tree"
)

// event is the body of a success.
type event struct {
	action string
	node   *v2tree.Node
	prev   *v2tree.Node
	// part, if not nil, is given the text so far between nodes and within long values, and returns
	// what is left of it.
	part func(text []byte) []byte
}

// bodies are buffers for bodies. Large ones are not reused.
var bodies = sync.Pool{New: func() any { return new([]byte) }}

const (
	bodyKeptBytes = 64 << 10
	// bodyCountedBytes is the size of http.ResponseWriter's buffer: it counts the bytes of a
	// shorter body, and sends a longer one in chunks unless its length is set.
	bodyCountedBytes = 2048
)

// append appends the event in etcd's form, with its order of members, a line feed at the end, and
// without empty members. wall is the time from which expiration times are computed.
func (e *event) append(dst []byte, wall time.Time) []byte {
	dst = append(dst, `{"action":"`...)
	dst = append(dst, e.action...)
	dst = append(dst, '"')
	if e.node != nil {
		dst = append(dst, `,"node":`...)
		dst = appendNode(dst, e.node, wall, e.part)
	}
	if e.prev != nil {
		dst = append(dst, `,"prevNode":`...)
		dst = appendNode(dst, e.prev, wall, e.part)
	}
	return append(dst, "}\n"...)
}

// valueBytes returns the length of the values of the event's own nodes.
func (e *event) valueBytes() (n int) {
	if e.node != nil {
		n = len(e.node.Value)
	}
	if e.prev != nil {
		n += len(e.prev.Value)
	}
	return n
}

// appendNode appends a node. part may be nil, see event.part.
func appendNode(dst []byte, n *v2tree.Node, wall time.Time, part func(text []byte) []byte) []byte {
	if len(n.Key) == 0 {
		dst = append(dst, `{"dir":true`...) // the root
	} else {
		dst = append(dst, `{"key":`...)
		dst = appendString(dst, n.Key)
		if n.HasValue {
			dst = append(dst, `,"value":`...)
			dst = appendLongString(dst, n.Value, part)
		}
		if n.Dir {
			dst = append(dst, `,"dir":true`...)
		}
	}
	if n.Expires {
		dst = append(dst, `,"expiration":"`...)
		dst = wall.Add(n.Left).UTC().AppendFormat(dst, time.RFC3339Nano)
		dst = append(dst, '"')
		if ttl := secondsLeft(n.Left); ttl != 0 {
			dst = append(dst, `,"ttl":`...)
			dst = strconv.AppendInt(dst, ttl, 10)
		}
	}
	if len(n.Nodes) > 0 {
		dst = append(dst, `,"nodes":[`...)
		for i := range n.Nodes {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendNode(dst, &n.Nodes[i], wall, part)
			if part != nil {
				dst = part(dst)
			}
		}
		dst = append(dst, ']')
	}
	if n.Modified != 0 {
		dst = append(dst, `,"modifiedIndex":`...)
		dst = strconv.AppendInt(dst, n.Modified, 10)
	}
	if n.Created != 0 {
		dst = append(dst, `,"createdIndex":`...)
		dst = strconv.AppendInt(dst, n.Created, 10)
	}
	return append(dst, '}')
}

// secondsLeft rounds up the remaining TTL.
func secondsLeft(d time.Duration) int64 {
	s := int64(d / time.Second)
	if d%time.Second > 0 {
		s++
	}
	return s
}

const hexDigits = "0123456789abcdef"

// plain has the bytes that a JSON string contains unescaped: etcd also escapes the special
// characters of HTML.
var plain = func() (t [utf8.RuneSelf]bool) {
	for i := ' '; i < utf8.RuneSelf; i++ {
		t[i] = i != '"' && i != '\\' && i != '<' && i != '>' && i != '&'
	}
	return t
}()

// appendString appends b as a JSON string as Go's encoding/json does: invalid UTF-8 becomes U+FFFD,
// and the line separators are escaped.
func appendString(dst, b []byte) []byte {
	return append(appendCharacters(append(dst, '"'), b), '"')
}

// stringPartBytes is how much of a long string is appended before part is called. An escaped
// character has up to six bytes.
const stringPartBytes = 2 << 10

// appendLongString is appendString with a call of part, unless that is nil, within long strings.
func appendLongString(dst, b []byte, part func(text []byte) []byte) []byte {
	dst = append(dst, '"')
	for part != nil && len(b) > stringPartBytes {
		n := stringPartBytes
		for back := range utf8.UTFMax {
			if utf8.RuneStart(b[n-back]) {
				n -= back // a character is not divided
				break
			}
		}
		dst = part(appendCharacters(dst, b[:n]))
		b = b[n:]
	}
	return append(appendCharacters(dst, b), '"')
}

// appendCharacters appends what is between the quotation marks of a JSON string.
func appendCharacters(dst, b []byte) []byte {
	from := 0
	for i := 0; i < len(b); {
		c := b[i]
		if c < utf8.RuneSelf {
			if plain[c] {
				i++
				continue
			}
			dst = append(dst, b[from:i]...)
			dst = appendEscape(dst, c)
			i++
			from = i
			continue
		}
		r, size := utf8.DecodeRune(b[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(append(dst, b[from:i]...), `\ufffd`...)
			from = i + size
		case r == '\u2028' || r == '\u2029':
			dst = append(append(dst, b[from:i]...), `\u202`...)
			dst = append(dst, hexDigits[r&0xF])
			from = i + size
		}
		i += size
	}
	return append(dst, b[from:]...)
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, `\b`...)
	case '\f':
		return append(dst, `\f`...)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	default:
		return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xF])
	}
}
