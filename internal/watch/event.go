package watch

import (
	"sync/atomic"

	"cairn/internal/kv"
)

// Event is a change as watchers receive it. All of them share it, and it never changes.
type Event struct {
	kv.Event
	// First is the first event of the revision if that event is of a v2 directory and not this one:
	// then this change is a part of the directory's change.
	First *Event

	wires [wiresMax]atomic.Pointer[[]byte]
}

// Revision returns the main revision of the change.
func (e *Event) Revision() int64 { return e.Record.Mod.Main }

// Wire is a form in which watchers get an event.
type Wire int

// The forms of an event.
const (
	WireV3         Wire = iota // without the version that was replaced
	WireV3WithPrev             // with it
	WireV2                     // empty if v2 does not show the event
	wiresMax
)

// WireBytesMax is the maximum size of an encoding that Event.Wire caches.
const WireBytesMax = 16 << 10

// Wire returns the event as encoded by encode, and caches it so that all watchers of an event share
// one encoding. Large events are not cached: each encoding copies the value.
func (e *Event) Wire(slot Wire, encode func(dst []byte, e *Event) []byte) []byte {
	if w := e.wires[slot].Load(); w != nil {
		return *w
	}
	w := encode(nil, e)
	if len(w) <= WireBytesMax {
		e.wires[slot].Store(&w)
	}
	return w
}

// eventOverheadBytes is the memory of an event and its encodings without key and values: of which
// 240 are the Event, and 200 the names in v2's JSON.
const eventOverheadBytes = 512

// bytes returns the event's size in memory.
func (e *Event) bytes() int {
	n := len(e.Key) + len(e.Record.Value) + len(e.Prev.Value)
	return eventOverheadBytes + n + min(2*n, 2*WireBytesMax) // the last term is for Wire
}

// clone returns a copy of an event that is valid for a limited time.
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

// link finds the events that are parts of a directory's change.
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
