package alarm

import (
	"encoding/binary"
	"fmt"
	"slices"

	"cairn/internal/codec"
	"cairn/internal/storage"
)

// Action is the action of a command. The values are stored; never renumber them.
type Action byte

// The actions of commands: an operator's, and those of the members themselves.
const (
	Activate   Action = 1
	Deactivate Action = 2
	// Raise is a member's Activate.
	Raise Action = 3
	// Lift is a member's Deactivate; it does not clear an operator's alarm.
	Lift Action = 4
)

// Command changes one alarm.
type Command struct {
	Action Action
	Kind   Kind
	Member uint64
}

// Own reports whether the command comes from a member itself and not from a user.
func (c *Command) Own() bool { return c.Action == Raise || c.Action == Lift }

// Append appends the command's bytes, as drawn in docs/formats/alarms.md.
func (c *Command) Append(dst []byte) []byte {
	return binary.BigEndian.AppendUint64(append(dst, byte(c.Action), byte(c.Kind)), c.Member)
}

// Decode is the inverse of Append.
func Decode(b []byte) (c Command, err error) {
	r := codec.NewReader(b)
	c.Action, c.Kind, c.Member = Action(r.Byte()), Kind(r.Byte()), r.Uint64()
	if c.Action < Activate || c.Action > Lift || !known(c.Kind) {
		r.Fail("action %d of alarm %d", c.Action, c.Kind)
	}
	if err := r.End(); err != nil {
		return c, fmt.Errorf("%w: command %x: %w", ErrMalformed, b, err)
	}
	return c, nil
}

// Apply runs a command in the open batch. It returns the named alarm as it is now or, if it was
// cleared, as it was before; ok is false if there was none to deactivate.
func (t *Table) Apply(b *storage.Batch, c *Command) (a Alarm, ok bool) {
	a, ok = t.next.Find(c.Kind, c.Member)
	switch c.Action {
	case Activate, Raise:
		if !ok {
			a = Alarm{Kind: c.Kind, Member: c.Member, Own: c.Action == Raise}
			t.put(b, a)
		}
		return a, true
	case Lift:
		if !a.Own {
			return Alarm{}, false
		}
	}
	if ok {
		t.remove(b, a)
	}
	return a, ok
}

func (t *Table) put(b *storage.Batch, a Alarm) {
	own := byte(0)
	if a.Own {
		own = 1
	}
	b.Set(a.key(), []byte{own})
	alarms := append(slices.Clone(t.next.alarms), a)
	slices.SortFunc(alarms, compare)
	t.next = newState(alarms)
}

func (t *Table) remove(b *storage.Batch, a Alarm) {
	b.Delete(a.key())
	t.next = newState(slices.DeleteFunc(slices.Clone(t.next.alarms), func(other Alarm) bool { return compare(other, a) == 0 }))
}
