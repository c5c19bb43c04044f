// Package alarm keeps the alarms of the cluster: which member has run out of space, which one's
// data is damaged, and which requests are refused while an alarm is raised.
//
// It owns the alarms' records in table s of the state store and the commands that change them, both
// drawn in docs/formats/alarms.md. It does not own the detection of a fault (member compares sizes
// and hashes) nor the texts of refusals on the wire (v3rpc, v2http).
//
// Invariants: alarms are replicated, so every member has the same ones and refuses the same
// commands. An alarm that a member has raised itself is cleared by that member, or by an operator;
// one that an operator has activated only by an operator (TestAlarms).
//
// Concurrency: Present and the State that it returns may be used by any goroutine; Begin, Next,
// Apply and Publish belong to the applier.
package alarm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"cairn/internal/kv"
	"cairn/internal/storage"
)

// Kind is the kind of an alarm. The values are stored, and equal etcd's AlarmType; never renumber
// them.
type Kind byte

// The kinds of alarms.
const (
	None    Kind = 0 // no alarm; in a query: all of them
	NoSpace Kind = 1
	Corrupt Kind = 2
)

// String returns etcd's name of a kind.
func (k Kind) String() string {
	switch k {
	case None:
		return "NONE"
	case NoSpace:
		return "NOSPACE"
	case Corrupt:
		return "CORRUPT"
	default:
		return fmt.Sprintf("alarm %d", byte(k))
	}
}

// The refusals while an alarm is raised.
var (
	// ErrNoSpace refuses requests that add data.
	ErrNoSpace = kv.NewRefusal("mvcc: database space exceeded")
	// ErrCorrupt refuses every change.
	ErrCorrupt = kv.NewRefusal("corrupt cluster")
)

// ErrMalformed is wrapped by the errors about bytes that no cairn of this version can have written.
var ErrMalformed = errors.New("malformed alarm")

// Alarm is one alarm of one member.
type Alarm struct {
	Kind   Kind
	Member uint64 // 0 if the member is unknown
	// Own is set when the member, not an operator, has raised it.
	Own bool
}

func (a Alarm) key() []byte {
	return binary.BigEndian.AppendUint64([]byte{byte(storage.TableSystem), tag, byte(a.Kind)}, a.Member)
}

// tag is the letter of alarms in table s.
const tag = 'a'

// Prefix returns the prefix of the keys of alarms.
func Prefix() []byte { return []byte{byte(storage.TableSystem), tag} }

func compare(a, b Alarm) int {
	if a.Kind != b.Kind {
		return int(a.Kind) - int(b.Kind)
	}
	switch {
	case a.Member < b.Member:
		return -1
	case a.Member > b.Member:
		return 1
	default:
		return 0
	}
}

// State has all alarms as of one batch. It never changes. The zero value has none.
type State struct {
	alarms  []Alarm // sorted by kind and member
	refuses [Corrupt + 1]bool
}

func newState(alarms []Alarm) *State {
	s := &State{alarms: alarms}
	for _, a := range alarms {
		s.refuses[a.Kind] = true
	}
	return s
}

// List returns the alarms of a kind, or all for None, sorted by kind and member. The caller must
// not modify them.
func (s *State) List(k Kind) []Alarm {
	if k == None {
		return s.alarms
	}
	from, _ := slices.BinarySearchFunc(s.alarms, Alarm{Kind: k}, compare)
	to, _ := slices.BinarySearchFunc(s.alarms, Alarm{Kind: k + 1}, compare)
	return s.alarms[from:to]
}

// Find returns the alarm of a kind and member.
func (s *State) Find(k Kind, member uint64) (a Alarm, ok bool) {
	i, ok := slices.BinarySearchFunc(s.alarms, Alarm{Kind: k, Member: member}, compare)
	if !ok {
		return Alarm{}, false
	}
	return s.alarms[i], true
}

// Active reports whether any member has an alarm of a kind.
func (s *State) Active(k Kind) bool { return int(k) < len(s.refuses) && s.refuses[k] }

// MayAdd returns the refusal of requests that add data, or nil.
func (s *State) MayAdd() error {
	if err := s.MayChange(); err != nil {
		return err
	}
	if s.refuses[NoSpace] {
		return ErrNoSpace
	}
	return nil
}

// MayChange returns the refusal of all changes, including those that free space, or nil.
func (s *State) MayChange() error {
	if s.refuses[Corrupt] {
		return ErrCorrupt
	}
	return nil
}

// Table has the alarms of one state store.
type Table struct {
	shown atomic.Pointer[State]
	next  *State // as of the open batch
}

// Open reads the alarms.
func Open(db *storage.Store) (t *Table, err error) {
	var alarms []Alarm
	it := db.NewIter([]byte{byte(storage.TableSystem), tag}, []byte{byte(storage.TableSystem), tag + 1})
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		key, value := it.Key(), it.Value()
		if len(key) != 11 || len(value) != 1 || value[0] > 1 || !known(Kind(key[2])) {
			return nil, fmt.Errorf("read alarms: %w: %x of %x", ErrMalformed, value, key)
		}
		alarms = append(alarms, Alarm{Kind: Kind(key[2]), Member: binary.BigEndian.Uint64(key[3:]), Own: value[0] == 1})
	}
	t = &Table{}
	t.shown.Store(newState(alarms))
	return t, nil
}

func known(k Kind) bool { return k == NoSpace || k == Corrupt }

// Present returns the alarms as of the last batch.
func (t *Table) Present() *State { return t.shown.Load() }

// Begin starts a batch.
func (t *Table) Begin() { t.next = t.Present() }

// Next returns the alarms as of the open batch.
func (t *Table) Next() *State { return t.next }

// Publish makes the changes of a committed batch visible to Present.
func (t *Table) Publish() {
	if t.next != t.Present() {
		t.shown.Store(t.next)
	}
}
