package membership

import (
	"encoding/binary"
	"fmt"
)

// Flags of a record.
const (
	flagLearner = 1 << iota
	flagRemoved
)

// append writes a member's record as docs/formats/members.md draws it. The ID is in the key.
func (m *Member) append(dst []byte) []byte {
	dst = appendText(append(dst, flagsOf(m.Learner)), m.Name)
	return appendText(appendTexts(appendTexts(dst, m.PeerURLs), m.ClientURLs), m.Version)
}

func flagsOf(learner bool) byte {
	if learner {
		return flagLearner
	}
	return 0
}

// appendRemoved writes the record of a member that was removed: nothing is left of it but that.
func appendRemoved(dst []byte) []byte { return append(dst, flagRemoved) }

// record is what the table has of an ID.
type record struct {
	Member
	removed bool
}

func decodeMember(key, value []byte) (m record, err error) {
	if len(key) != 9 {
		return m, fmt.Errorf("%w: key %x", ErrCorrupt, key)
	}
	m.ID = binary.BigEndian.Uint64(key[1:])
	r := reader{b: value}
	flags := r.byte()
	m.Learner, m.removed = flags&flagLearner != 0, flags&flagRemoved != 0
	if m.removed && len(value) == 1 && !m.Learner {
		return m, nil
	}
	m.Name, m.PeerURLs, m.ClientURLs, m.Version = r.text(), r.texts(), r.texts(), r.text()
	if flags&^flagLearner != 0 || !r.whole() {
		return m, fmt.Errorf("%w: record of member %x: %x", ErrCorrupt, m.ID, value)
	}
	return m, nil
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendTexts(dst []byte, texts []string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(texts)))
	for _, s := range texts {
		dst = appendText(dst, s)
	}
	return dst
}

// reader reads the pieces of a record or command; after the first that does not fit all are zero and bad is set. What it
// returns is copied.
type reader struct {
	b   []byte
	bad bool
}

// whole says whether everything fitted and nothing is left.
func (r *reader) whole() bool { return !r.bad && len(r.b) == 0 }

func (r *reader) fail() {
	r.b, r.bad = nil, true
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

// length reads the length of something whose items take a byte or more each.
func (r *reader) length() int {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > uint64(len(r.b)-n) {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return int(v)
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) text() string {
	n := r.length()
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *reader) texts() []string {
	var texts []string
	for n := r.length(); n > 0 && !r.bad; n-- {
		texts = append(texts, r.text())
	}
	return texts
}
