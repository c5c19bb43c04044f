package machine

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"cairn/internal/auth"
	"cairn/internal/codec"
	"cairn/internal/membership"
)

// A command that changes raft's configuration is proposed as a configuration change of raft, whose
// context is an entry's data with that one command. The state machine decides whether it takes
// effect; the caller then applies it to raft.

// NewChange returns the configuration change for c; the caller puts the entry's data into its
// Context. It is nil for commands that do not change the configuration.
func NewChange(c *membership.Command) *raftpb.ConfChangeV2 {
	var t raftpb.ConfChangeType
	switch {
	case c.Kind == membership.KindAdd && c.Learner:
		t = raftpb.ConfChangeAddLearnerNode
	case c.Kind == membership.KindAdd, c.Kind == membership.KindPromote:
		t = raftpb.ConfChangeAddNode
	case c.Kind == membership.KindRemove:
		t = raftpb.ConfChangeRemoveNode
	default:
		return nil
	}
	return &raftpb.ConfChangeV2{Changes: []*raftpb.ConfChangeSingle{{Type: t.Enum(), NodeId: &c.ID}}}
}

func decodeChange(e *raftpb.Entry) (*raftpb.ConfChangeV2, error) {
	if e.GetType() != raftpb.EntryConfChangeV2 {
		return nil, fmt.Errorf("%w: entry of type %v", ErrBadCommand, e.GetType())
	}
	change := new(raftpb.ConfChangeV2)
	if err := proto.Unmarshal(e.Data, change); err != nil {
		return nil, fmt.Errorf("%w: configuration change: %w", ErrBadCommand, err)
	}
	return change, nil
}

// changeMembers runs a command about members. It increments the revision only if the command says
// so (ADR 0005, ADR 0011).
func (m *Machine) changeMembers(d *codec.Reader, change *raftpb.ConfChangeV2, subject *auth.Subject) error {
	c, err := decodeMembership(d.Rest(), change)
	if err != nil {
		return err
	}
	// A member publishes itself, and learners that have caught up are promoted, without a client's
	// request.
	ownCommand := c.Kind == membership.KindPublish || c.Kind == membership.KindPromote && subject == unknown
	if !ownCommand {
		if err := needRoot(subject); err != nil {
			return err
		}
	}
	if err := m.members.Apply(m.b, &c); err != nil {
		return err
	}
	if c.Kind == membership.KindRemove {
		m.forgetAlarms(c.ID)
	}
	if c.MovesRevision {
		m.w.Advance()
	}
	if change != nil {
		m.changes = append(m.changes, withoutContext(change))
	}
	return nil
}

// decodeMembership decodes a membership command and checks that change is the configuration change
// for it.
func decodeMembership(payload []byte, change *raftpb.ConfChangeV2) (membership.Command, error) {
	c, err := membership.Decode(payload)
	if err != nil {
		return c, malformed("membership", err)
	}
	if want := NewChange(&c); !proto.Equal(want, withoutContext(change)) {
		return c, fmt.Errorf("%w: membership command of kind %d about %x in the change %v", ErrBadCommand, c.Kind, c.ID, change)
	}
	return c, nil
}

func withoutContext(change *raftpb.ConfChangeV2) *raftpb.ConfChangeV2 {
	if change == nil {
		return nil
	}
	return &raftpb.ConfChangeV2{Transition: change.Transition, Changes: change.GetChanges()}
}
