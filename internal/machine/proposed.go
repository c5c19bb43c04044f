package machine

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"cairn/internal/codec"
	"cairn/internal/membership"
)

// CheckProposed checks an entry that another member, the origin, asks the leader to propose. It
// returns an error wrapping ErrBadCommand unless the entry can be decoded as far as its commands,
// names that origin, and carries a configuration change exactly if its command is one.
func CheckProposed(e *raftpb.Entry, origin uint64) error {
	data := e.Data
	var change *raftpb.ConfChangeV2
	if e.GetType() != raftpb.EntryNormal {
		var err error
		if change, err = decodeChange(e); err != nil {
			return err
		}
		data = change.GetContext()
	}
	d := codec.NewReader(data)
	h, err := decodeHeader(&d)
	if err != nil {
		return err
	}
	if h.Origin != origin {
		return fmt.Errorf("%w: member %x forwards an entry of member %x", ErrBadCommand, origin, h.Origin)
	}
	n := 0
	for ; d.Len() > 0; n++ {
		kind, payload := Kind(d.Byte()), d.Bytes()
		if err := damaged("command", d.Err()); err != nil {
			return err
		}
		if _, err := openAs(&kind, &payload); err != nil {
			return err
		}
		if kind < KindPut || kind > KindAlarm {
			return fmt.Errorf("%w: kind %d, which this version does not know", ErrBadCommand, kind)
		}
		if kind == KindMembership {
			if err := checkChange(payload, change); err != nil {
				return err
			}
		} else if change != nil {
			return fmt.Errorf("%w: configuration change with a command of kind %d", ErrBadCommand, kind)
		}
	}
	if change != nil && n != 1 {
		return fmt.Errorf("%w: configuration change with %d commands, want 1", ErrBadCommand, n)
	}
	return nil
}

// checkChange checks that a membership command and the configuration change that carries it belong
// together.
func checkChange(payload []byte, change *raftpb.ConfChangeV2) error {
	c, err := membership.Decode(payload)
	if err != nil {
		return errors.Join(ErrBadCommand, err)
	}
	if !proto.Equal(NewChange(&c), withoutContext(change)) {
		return fmt.Errorf("%w: membership command of kind %d about %x in the configuration change %v", ErrBadCommand, c.Kind, c.ID, change)
	}
	return nil
}
