package membership

import (
	"encoding/binary"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"

	"cairn/internal/codec"
	"cairn/internal/kv"
	"cairn/internal/storage"
)

// The errors that refuse a change.
var (
	// ErrNotFound says that no member has the ID.
	ErrNotFound = kv.NewRefusal("member not found")
	// ErrExists says that a member has the ID already.
	ErrExists = kv.NewRefusal("member ID exists")
	// ErrRemoved says that the member with the ID was removed, which is for good.
	ErrRemoved = kv.NewRefusal("member was removed")
	// ErrPeerURLExists says that another member has one of the peer URLs.
	ErrPeerURLExists = kv.NewRefusal("peerURL exists")
	// ErrOnlyMember says that the cluster would have no voter left.
	ErrOnlyMember = kv.NewRefusal("the only member cannot be removed")
	// ErrNotLearner says that the member to be promoted is a voter already.
	ErrNotLearner = kv.NewRefusal("member is not a learner")
	// ErrTooOld says that a member is older than the cluster: it would not understand what the
	// others write.
	ErrTooOld = kv.NewRefusal("member is older than its cluster")
	// ErrReservedID refuses IDs that raft keeps for itself.
	ErrReservedID = kv.NewRefusal("member ID is reserved")
	// ErrTooManyLearners says that the cluster has as many learners as it may.
	ErrTooManyLearners = kv.NewRefusal("too many learner members in cluster")
)

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
	// MovesRevision has the change move the revision of the keys by one, although no key changes:
	// when the v2 API asked for it, whose index etcd 3.1 moves with it, and until every member
	// knows changes that do not (KnowStillChanges). It is never set in KindPublish.
	MovesRevision bool
	// LearnersMax is how many learners the proposer allows the cluster; what was meant is in the
	// command, so that members with other settings decide alike.
	LearnersMax uint64
}

// kindStill is set in the byte of the kind when the change leaves the revision as it is. Changes of
// version 0.1.0 moved the revision, and so does replaying its log.
const kindStill = 0x80

// Append writes the command's bytes, as docs/formats/members.md draws them.
func (c *Command) Append(dst []byte) []byte {
	kind := byte(c.Kind)
	if c.Kind != KindPublish && !c.MovesRevision {
		kind |= kindStill
	}
	dst = binary.BigEndian.AppendUint64(append(dst, kind), c.ID)
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
	kind := r.Byte()
	c.Kind, c.ID = Kind(kind&^kindStill), r.Uint64()
	c.MovesRevision = kind&kindStill == 0 && c.Kind != KindPublish
	switch c.Kind {
	case KindPublish:
		if kind&kindStill != 0 {
			r.Fail("kind %#x, which this version does not know", kind)
		}
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
		switch {
		case ok:
			return ErrExists
		case reserved(c.ID):
			return ErrReservedID
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

// reserved reports whether raft gives an ID a meaning of its own: 0 is no member, and the two
// highest are the local threads of asynchronous storage writes.
func reserved(id uint64) bool {
	return id == raft.None || id == raft.LocalAppendThread || id == raft.LocalApplyThread
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
