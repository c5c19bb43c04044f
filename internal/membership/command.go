package membership

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"cairn/internal/storage"
)

// The errors that refuse a change.
var (
	// ErrNotFound says that no member has the ID.
	ErrNotFound = errors.New("member not found")
	// ErrPeerURLExists says that another member has one of the peer URLs.
	ErrPeerURLExists = errors.New("peerURL exists")
	// ErrOnlyMember says that the cluster would have no member left.
	ErrOnlyMember = errors.New("the only member cannot be removed")
	// ErrFixed says what this version does not do. It is the one text for it, whatever the dialect.
	ErrFixed = errors.New("adding, removing and promoting members is not supported by this version of cairn")
)

// Kind says what a command asks for. The values are stored; never renumber them.
type Kind byte

// The kinds of commands.
const (
	// KindPublish records what a member says of itself when it has started: its name and client URLs.
	KindPublish Kind = 1
	// KindUpdate gives a member other peer URLs.
	KindUpdate Kind = 2
)

// Command changes the record of one member. What its kind does not ask for is not looked at.
type Command struct {
	Kind       Kind
	ID         uint64
	Name       string
	ClientURLs []string
	PeerURLs   []string
}

// Append writes the command's bytes, as docs/formats/members.md draws them.
func (c *Command) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, byte(c.Kind)), c.ID)
	if c.Kind == KindPublish {
		return appendTexts(appendText(dst, c.Name), c.ClientURLs)
	}
	return appendTexts(dst, c.PeerURLs)
}

// Decode is the inverse of Append. Nothing points into b.
func Decode(b []byte) (c Command, err error) {
	if len(b) < 9 {
		return c, fmt.Errorf("%w: command of %d bytes", ErrCorrupt, len(b))
	}
	c.Kind, c.ID = Kind(b[0]), binary.BigEndian.Uint64(b[1:])
	r := reader{b: b[9:]}
	switch c.Kind {
	case KindPublish:
		c.Name, c.ClientURLs = r.text(), r.texts()
	case KindUpdate:
		c.PeerURLs = r.texts()
	default:
		return c, fmt.Errorf("%w: command of kind %d, which this cairn does not know", ErrCorrupt, c.Kind)
	}
	if !r.whole() {
		return c, fmt.Errorf("%w: command %x", ErrCorrupt, b)
	}
	return c, nil
}

// Apply makes the change that c asks for, in the batch that Begin started, or refuses it and changes nothing.
func (t *Table) Apply(b *storage.Batch, c *Command) error {
	m, ok := Find(t.next, c.ID)
	if !ok {
		return ErrNotFound
	}
	switch c.Kind {
	case KindPublish:
		m.Name, m.ClientURLs = c.Name, c.ClientURLs
	case KindUpdate:
		if err := CheckPeerURLs(t.next, c.ID, c.PeerURLs); err != nil {
			return err
		}
		m.PeerURLs = c.PeerURLs
	}
	t.set(b, m)
	return nil
}

// CheckPeerURLs returns ErrPeerURLExists when another member than the one with the ID has one of the peer URLs.
func CheckPeerURLs(members []Member, id uint64, peerURLs []string) error {
	for i := range members {
		if members[i].ID == id {
			continue
		}
		for _, url := range peerURLs {
			if slices.Contains(members[i].PeerURLs, url) {
				return ErrPeerURLExists
			}
		}
	}
	return nil
}
