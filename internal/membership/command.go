package membership

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"cairn/internal/codec"
	"cairn/internal/storage"
)

// The errors that refuse a change.
var (
	// ErrNotFound says that no member has the ID.
	ErrNotFound = errors.New("member not found")
	// ErrExists says that a member has the ID already.
	ErrExists = errors.New("member ID exists")
	// ErrRemoved says that the member with the ID was removed, which is for good.
	ErrRemoved = errors.New("member was removed")
	// ErrPeerURLExists says that another member has one of the peer URLs.
	ErrPeerURLExists = errors.New("peerURL exists")
	// ErrOnlyMember says that the cluster would have no voter left.
	ErrOnlyMember = errors.New("the only member cannot be removed")
	// ErrNotLearner says that the member to be promoted is a voter already.
	ErrNotLearner = errors.New("member is not a learner")
	// ErrTooOld says that a member is older than the cluster: it would not understand what the
	// others write.
	ErrTooOld = errors.New("member is older than its cluster")
	// ErrTooManyLearners says that the cluster has as many learners as it may.
	ErrTooManyLearners = errors.New("too many learner members in cluster")
)

// Refused reports whether err is one of the errors that refuse a change.
func Refused(err error) bool {
	for _, known := range []error{ErrNotFound, ErrExists, ErrRemoved, ErrPeerURLExists, ErrOnlyMember, ErrNotLearner, ErrTooOld, ErrTooManyLearners} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// Kind says what a command asks for. The values are stored; never renumber them.
type Kind byte

// The kinds of commands.
const (
	// KindPublish records what a member says of itself when it has started: its name, client URLs
	// and version.
	KindPublish Kind = 1
	// KindUpdate gives a member other peer URLs.
	KindUpdate Kind = 2
	// KindAdd adds a member, as a voter or as a learner.
	KindAdd Kind = 3
	// KindRemove removes a member for good: its ID never comes back.
	KindRemove Kind = 4
	// KindPromote makes a learner a voter.
	KindPromote Kind = 5
)

// Reconfigures reports whether commands of the kind change who has part in the raft log: those go
// through it one at a time, as configuration changes of raft.
func (k Kind) Reconfigures() bool { return k == KindAdd || k == KindRemove || k == KindPromote }

// Command changes the record of one member. What its kind does not ask for is not looked at.
type Command struct {
	Kind       Kind
	ID         uint64
	Name       string
	ClientURLs []string
	Version    string // of a member that publishes itself
	PeerURLs   []string
	Learner    bool // of a member that is added
	// LearnersMax is how many learners the proposer allows the cluster; what was meant is in the
	// command, so that members with other settings decide alike.
	LearnersMax uint64
}

// Append writes the command's bytes, as docs/formats/members.md draws them.
func (c *Command) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, byte(c.Kind)), c.ID)
	switch c.Kind {
	case KindPublish:
		return codec.AppendText(appendTexts(codec.AppendText(dst, c.Name), c.ClientURLs), c.Version)
	case KindAdd:
		dst = append(dst, flagsOf(c.Learner))
		return appendTexts(binary.AppendUvarint(dst, c.LearnersMax), c.PeerURLs)
	case KindUpdate:
		return appendTexts(dst, c.PeerURLs)
	default:
		return dst
	}
}

// Decode is the inverse of Append. Nothing points into b.
func Decode(b []byte) (c Command, err error) {
	r := codec.NewReader(b)
	c.Kind, c.ID = Kind(r.Byte()), r.Uint64()
	switch c.Kind {
	case KindPublish:
		c.Name, c.ClientURLs, c.Version = r.Text(), takeTexts(&r), r.Text()
	case KindUpdate:
		c.PeerURLs = takeTexts(&r)
	case KindAdd:
		flags := r.Byte()
		if c.Learner = flags == flagLearner; flags != flagsOf(c.Learner) {
			r.Fail("flags %#x", flags)
		}
		c.LearnersMax, c.PeerURLs = r.Uvarint(), takeTexts(&r)
	case KindRemove, KindPromote:
	default:
		r.Fail("kind %d, which this cairn does not know", c.Kind)
	}
	if err := r.End(); err != nil {
		return c, fmt.Errorf("%w: command %x: %w", ErrCorrupt, b, err)
	}
	return c, nil
}

// Apply makes the change that c asks for, in the batch that Begin started, or refuses it and
// changes nothing.
func (t *Table) Apply(b *storage.Batch, c *Command) error {
	if t.removedNext[c.ID] {
		return ErrRemoved
	}
	m, ok := Find(t.next, c.ID)
	if c.Kind == KindAdd {
		if ok {
			return ErrExists
		}
		return t.add(b, c)
	}
	if !ok {
		return ErrNotFound
	}
	switch c.Kind {
	case KindPublish:
		if older(c.Version, ClusterVersion(t.next)) {
			return ErrTooOld
		}
		m.Name, m.ClientURLs, m.Version = c.Name, c.ClientURLs, c.Version
	case KindUpdate:
		if err := CheckPeerURLs(t.next, c.ID, c.PeerURLs); err != nil {
			return err
		}
		m.PeerURLs = c.PeerURLs
	case KindRemove:
		if !m.Learner && voters(t.next) == 1 {
			return ErrOnlyMember
		}
		t.remove(b, c.ID)
		return nil
	case KindPromote:
		if !m.Learner {
			return ErrNotLearner
		}
		m.Learner = false
	}
	t.set(b, m)
	return nil
}

func (t *Table) add(b *storage.Batch, c *Command) error {
	if err := CheckPeerURLs(t.next, c.ID, c.PeerURLs); err != nil {
		return err
	}
	if learners := uint64(len(t.next) - voters(t.next)); c.Learner && learners >= c.LearnersMax {
		return ErrTooManyLearners
	}
	t.set(b, Member{ID: c.ID, PeerURLs: c.PeerURLs, Learner: c.Learner})
	return nil
}

func voters(members []Member) (n int) {
	for i := range members {
		if !members[i].Learner {
			n++
		}
	}
	return n
}

// CheckPeerURLs returns ErrPeerURLExists when another member than the one with the ID has one of
// the peer URLs.
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
