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
	// ErrNotFound is returned when no member has the ID.
	ErrNotFound = kv.NewRefusal("member not found")
	// ErrExists is returned when a member has the ID already.
	ErrExists = kv.NewRefusal("member ID exists")
	// ErrRemoved is returned when the member with the ID was removed. Removal is permanent.
	ErrRemoved = kv.NewRefusal("member was removed")
	// ErrPeerURLExists is returned when another member has one of the peer URLs.
	ErrPeerURLExists = kv.NewRefusal("peerURL exists")
	// ErrOnlyMember is returned when the cluster would be left without a voter.
	ErrOnlyMember = kv.NewRefusal("the only member cannot be removed")
	// ErrNotLearner is returned when the member to be promoted is a voter already.
	ErrNotLearner = kv.NewRefusal("member is not a learner")
	// ErrTooOld is returned when a member's version is older than the cluster version: it could not
	// decode the commands of newer members.
	ErrTooOld = kv.NewRefusal("member is older than its cluster")
	// ErrReservedID is returned for IDs that raft reserves.
	ErrReservedID = kv.NewRefusal("member ID is reserved")
	// ErrTooManyLearners is returned when the cluster has the maximum number of learners.
	ErrTooManyLearners = kv.NewRefusal("too many learner members in cluster")
)

// Kind is the kind of a command. The values are stored; never renumber them.
type Kind byte

// The kinds of commands.
const (
	// KindPublish records the name, client URLs and version that a member publishes when it starts.
	KindPublish Kind = 1
	// KindUpdate replaces a member's peer URLs.
	KindUpdate Kind = 2
	// KindAdd adds a member, as a voter or as a learner.
	KindAdd Kind = 3
	// KindRemove removes a member permanently: its ID is never reused.
	KindRemove Kind = 4
	// KindPromote makes a learner a voter.
	KindPromote Kind = 5
)

// Reconfigures reports whether commands of the kind change raft's configuration. Such commands go
// through the log one at a time, as configuration changes of raft.
func (k Kind) Reconfigures() bool { return k == KindAdd || k == KindRemove || k == KindPromote }

// Command changes the record of one member. Fields that its kind does not use are ignored.
type Command struct {
	Kind       Kind
	ID         uint64
	Name       string
	ClientURLs []string
	Version    string // of the member, for KindPublish
	PeerURLs   []string
	Learner    bool // whether the member is a learner, for KindAdd
	// MovesRevision makes the change increment the revision of the keys by one, although no key
	// changes. It is set for requests of the v2 API, because etcd 3.1 increments its index for
	// them, and as long as a member does not support changes that leave the revision alone
	// (KnowStillChanges). It is never set for KindPublish.
	MovesRevision bool
	// LearnersMax is the maximum number of learners. The proposer sets it, so that members with
	// different settings decide equally.
	LearnersMax uint64
}

// kindStill is set in the kind's byte when the change does not increment the revision. Changes of
// version 0.1.0 incremented the revision, and replaying its log must do so, too.
const kindStill = 0x80

// Append appends the command's bytes, as drawn in docs/formats/members.md.
func (c *Command) Append(dst []byte) []byte {
	kind := byte(c.Kind)
	if c.Kind != KindPublish && !c.MovesRevision {
		kind |= kindStill
	}
	dst = binary.BigEndian.AppendUint64(append(dst, kind), c.ID)
	switch c.Kind {
	case KindPublish:
		return codec.AppendText(codec.AppendTexts(codec.AppendText(dst, c.Name), c.ClientURLs), c.Version)
	case KindAdd:
		dst = append(dst, flagsOf(c.Learner))
		return codec.AppendTexts(binary.AppendUvarint(dst, c.LearnersMax), c.PeerURLs)
	case KindUpdate:
		return codec.AppendTexts(dst, c.PeerURLs)
	default:
		return dst
	}
}

// Decode is the inverse of Append. The result does not alias b.
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
		c.Name, c.ClientURLs, c.Version = r.Text(), r.Texts(), r.Text()
	case KindUpdate:
		c.PeerURLs = r.Texts()
	case KindAdd:
		flags := r.Byte()
		if c.Learner = flags == flagLearner; flags != flagsOf(c.Learner) {
			r.Fail("flags %#x", flags)
		}
		c.LearnersMax, c.PeerURLs = r.Uvarint(), r.Texts()
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

// reserved reports whether raft reserves an ID: 0 means no member, and the two highest IDs are the
// local threads of asynchronous storage writes.
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

// CheckPeerURLs returns ErrPeerURLExists when a member other than the one with the ID has one of
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
