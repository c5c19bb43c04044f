package watch

import (
	"sync/atomic"

	"cairn/internal/kv"
)

// Event is a change as watchers are given it. It is shared by all of them and
// never changes.
type Event struct {
	kv.Event
	// First is the first event of the revision when that is of a v2 directory and
	// not this one: then this change is a part of what happened to the directory.
	First *Event

	wires [wiresMax]atomic.Pointer[[]byte]
}

// Revision returns the main revision of the change.
func (e *Event) Revision() int64 { return e.Record.Mod.Main }

// Bounds of what Wire keeps.
const (
	wiresMax     = 2
	wireBytesMax = 16 << 10
)

// Wire returns the event as encode writes it, which is kept so that the watchers of
// an event have it encoded once. slot, 0 or 1, selects the encoding. Large ones are
// not kept: for those every encoding is a copy of the value.
func (e *Event) Wire(slot int, encode func(dst []byte, e *Event) []byte) []byte {
	if w := e.wires[slot].Load(); w != nil {
		return *w
	}
	w := encode(nil, e)
	if len(w) <= wireBytesMax {
		e.wires[slot].Store(&w)
	}
	return w
}

// eventOverheadBytes is what an event takes besides key and values.
const eventOverheadBytes = 320

// bytes returns what an event keeps in memory.
func (e *Event) bytes() int {
	n := len(e.Key) + len(e.Record.Value) + len(e.Prev.Value)
	return eventOverheadBytes + n + min(n, wireBytesMax) // the latter for Wire
}

// clone returns an event of one's own for one that is lent.
func clone(e *kv.Event) *Event {
	own := &Event{Event: *e}
	mem := make([]byte, 0, len(e.Key)+len(e.Record.Value)+len(e.Prev.Value))
	keep := func(b []byte) []byte {
		at := len(mem)
		mem = append(mem, b...)
		return mem[at:len(mem):len(mem)]
	}
	own.Key, own.Record.Value, own.Prev.Value = keep(e.Key), keep(e.Record.Value), keep(e.Prev.Value)
	return own
}

// batch is a run of published events, of whole revisions.
type batch struct {
	events []Event
	bytes  int
}

func (b *batch) last() int64 { return b.events[len(b.events)-1].Revision() }

// link finds out which events are parts of what happened to a directory.
func link(events []Event) {
	var first *Event
	for i := range events {
		e := &events[i]
		switch {
		case e.Record.Mod.Sub == 0:
			first = e
		case first != nil && first.Dir:
			e.First = first
		}
	}
}
