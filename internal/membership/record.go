package membership

import (
	"encoding/binary"
	"fmt"

	"cairn/internal/codec"
)

// Flags of a record.
const (
	flagLearner = 1 << iota
	flagRemoved
)

// append appends a member's record, as drawn in docs/formats/members.md. The ID is in the key.
func (m *Member) append(dst []byte) []byte {
	dst = codec.AppendText(append(dst, flagsOf(m.Learner)), m.Name)
	return codec.AppendText(codec.AppendTexts(codec.AppendTexts(dst, m.PeerURLs), m.ClientURLs), m.Version)
}

func flagsOf(learner bool) byte {
	if learner {
		return flagLearner
	}
	return 0
}

// appendRemoved appends the record of a removed member: a flag alone.
func appendRemoved(dst []byte) []byte { return append(dst, flagRemoved) }

// record is the decoded value of an ID in the table.
type record struct {
	Member
	removed bool
}

func decodeMember(key, value []byte) (m record, err error) {
	if len(key) != 9 {
		return m, fmt.Errorf("%w: key %x", ErrCorrupt, key)
	}
	m.ID = binary.BigEndian.Uint64(key[1:])
	r := codec.NewReader(value)
	flags := r.Byte()
	m.Learner, m.removed = flags&flagLearner != 0, flags&flagRemoved != 0
	if m.removed && len(value) == 1 && !m.Learner {
		return m, nil
	}
	if flags&^flagLearner != 0 {
		r.Fail("flags %#x", flags)
	}
	m.Name, m.PeerURLs, m.ClientURLs, m.Version = r.Text(), r.Texts(), r.Texts(), r.Text()
	if err := r.End(); err != nil {
		return m, fmt.Errorf("%w: record of member %x: %x: %w", ErrCorrupt, m.ID, value, err)
	}
	return m, nil
}
