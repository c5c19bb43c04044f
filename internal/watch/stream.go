package watch

import (
	"fmt"
	"sync/atomic"

	"cairn/internal/kv"
)

// Spec selects the events of a watcher.
type Spec struct {
	// Range must not be empty.
	Range kv.KeyRange
	// HistoryRange, unless empty, replaces Range while the watcher reads history. It must contain
	// Range; Wants selects among the additional events.
	HistoryRange kv.KeyRange
	// Start is the first revision to deliver; 0 means the next one after the head.
	Start int64
	// Wants selects events of the range; it is called by any goroutine, under a lock, and must
	// be quick. nil selects all.
	Wants func(e *Event) bool
	// Owner is a value for the caller, returned by Watcher.Owner.
	Owner any
}

// state is the source of a watcher's next events.
type state uint8

const (
	live   state = iota // in Hub.index: from Dispatch
	fallen              // in Stream.fallen: Take moves it to behind
	behind              // in Stream.behind: from history
	ended
)

// Watcher is a watch of one key or range, in a stream. A hundred thousand of them without events
// are ordinary, so it has no buffer, no channel and no goroutine.
type Watcher struct {
	owner  any
	stream *Stream
	span   span  // its key or range in an index
	past   *past // nil without a Spec.HistoryRange
	filter func(*Event) bool

	// The hub's mutex guards the fields below; while the watcher is behind, next is the stream's.
	state  state
	next   int64    // the first revision still to be delivered
	event  *Event   // the first queued event
	events []*Event // the other queued events

	before, after   *Watcher // in an index
	elder, younger  *Watcher // in the stream's list of watchers
	deliveryInSlice int      // the stream's, while it reads history: 1 + index into deliveries
}

// Owner returns the Owner of the Spec.
func (w *Watcher) Owner() any { return w.owner }

func (w *Watcher) wants(e *Event) bool { return w.filter == nil || w.filter(e) }

// queue queues an event for the stream to take. The hub's mutex is held.
func (w *Watcher) queue(e *Event) {
	s := w.stream
	if s.events == 0 {
		s.queuedSince = s.hub.dispatchedBytes
		s.enqueue()
		s.signal()
	}
	s.events++
	s.queuedBytes += e.bytes()
	s.hub.events++
	if s.events == s.hub.limits.StreamEvents+1 {
		s.hub.overfull = append(s.hub.overfull, s)
	}
	if w.event != nil {
		w.events = append(w.events, e)
		return
	}
	w.event = e
	s.ready = append(s.ready, w)
}

// fallBehind makes a live watcher fall behind. The hub's mutex is held.
func (w *Watcher) fallBehind() {
	s := w.stream
	s.hub.index.remove(w)
	w.state = fallen
	s.fallen = append(s.fallen, w)
	s.lagging.Store(true)
	s.signal()
}

// past has the additional fields of a watcher with a Spec.HistoryRange.
type past struct {
	other   span  // the one of Spec.Range and Spec.HistoryRange that is not in Watcher.span
	through int64 // the store's revision when the watcher began
}

// bytes returns the size of the watcher's keys.
func (w *Watcher) bytes() int {
	n := w.span.bytes()
	if w.past != nil {
		n += w.past.other.bytes()
	}
	return n
}

// historyEnd returns the last revision that the watcher has to read from history. The hub's mutex
// is held.
func (w *Watcher) historyEnd() int64 {
	if w.past != nil {
		// events that are not dispatched yet are in the history, too
		return max(w.past.through, w.stream.hub.dispatched)
	}
	return w.stream.hub.dispatched
}

// enterHistory moves a fallen watcher to its stream's index of those that read history. The hub's
// mutex is held.
func (w *Watcher) enterHistory() {
	if w.past != nil {
		w.span, w.past.other = w.past.other, w.span
	}
	w.state = behind
	w.stream.hub.behind++
	w.stream.behind.add(w)
}

// leaveHistory reverses enterHistory; the caller sets the new state. The hub's mutex is held.
func (w *Watcher) leaveHistory() {
	w.stream.behind.remove(w)
	w.stream.hub.behind--
	if w.past != nil {
		w.span, w.past.other = w.past.other, w.span
	}
}

// Stream is a group of watchers with one consumer. Its methods may be called by one
// goroutine at a time.
type Stream struct {
	hub    *Hub
	wake   chan struct{} // nil when there is notify
	notify func()

	// The hub's mutex guards the fields below.
	slot         int        // in Hub.streams
	ready        []*Watcher // watchers with queued events, sorted by their first event
	events       int        // queued
	queuedBytes  int        // of them; of one that several watchers have, for each
	queuedSince  int64      // Hub.dispatchedBytes when the first was queued
	older, newer *Stream    // in the hub's list of streams with queued events
	fallen       []*Watcher
	first, last  *Watcher // all watchers, in the order of their creation
	watchers     int
	bytes        int   // their keys
	latest       int64 // the highest start of a watcher
	awakeIn      int   // the round in which it was woken, see fanOut; 0 when it has taken since
	crowded      bool  // it is in the crowd, see fanOut

	// waits is set while the consumer may wait to be woken. It is set by the consumer, and cleared
	// under the mutex.
	waits atomic.Bool
	// lagging is set while fallen is not empty.
	lagging atomic.Bool

	// The fields below belong to the consumer.
	behind     index
	laggards   []*Watcher // those in behind, and some that were
	highFirst  bool       // the end at which the next slice of history begins; see catchUp
	deliveries []Delivery
	taken      []*Event
	takenBytes int // of the deliveries
}

// NewStream returns a stream without watchers. It must be closed.
func (h *Hub) NewStream() *Stream { return h.add(&Stream{hub: h, wake: make(chan struct{}, 1)}) }

// NewStreamFunc is NewStream for a consumer that has no goroutine while there is nothing to take:
// instead of sending a token to Wake, the hub calls notify, also when it is closed. notify is
// called under a lock: it must not block, nor call the hub.
func (h *Hub) NewStreamFunc(notify func()) *Stream {
	s := &Stream{hub: h, notify: notify}
	s.waits.Store(true)
	return h.add(s)
}

func (h *Hub) add(s *Stream) *Stream {
	h.mu.Lock()
	s.slot = len(h.streams)
	h.streams = append(h.streams, s)
	h.mu.Unlock()
	return s
}

// Wake has a token when Take may return something. It is called each time before the consumer waits
// for the token.
func (s *Stream) Wake() <-chan struct{} {
	s.waits.Store(true)
	return s.wake
}

// Close ends the stream and its watchers.
func (s *Stream) Close() {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s.wokenUp()
	s.forget()
	for w := s.first; w != nil; w = w.younger {
		switch w.state {
		case live:
			h.index.remove(w)
		case behind:
			h.behind--
		}
		w.state = ended
		h.watchers.Add(-1)
	}
	s.first, s.last = nil, nil
	h.bytes -= s.bytes
	s.watchers, s.bytes = 0, 0
	last := len(h.streams) - 1
	h.streams[s.slot] = h.streams[last]
	h.streams[s.slot].slot = s.slot
	h.streams[last] = nil
	h.streams = h.streams[:last]
}

// Room returns why a watcher of a range should not be added, or nil: ErrStreamFull or ErrHubFull. A
// consumer that may add many watchers to a stream must call it first.
func (s *Stream) Room(r kv.KeyRange) error {
	h, l := s.hub, &s.hub.limits
	size := len(r.Key) + len(r.End)
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case s.watchers >= l.StreamWatchers:
		return fmt.Errorf("%w: the limit is %d", ErrStreamFull, l.StreamWatchers)
	case s.bytes+size > l.StreamBytes:
		return fmt.Errorf("%w: the limit of their keys is %d bytes", ErrStreamFull, l.StreamBytes)
	case h.watchers.Load() >= int64(l.HubWatchers):
		return fmt.Errorf("%w: the limit is %d", ErrHubFull, l.HubWatchers)
	case h.bytes+size > l.HubBytes:
		return fmt.Errorf("%w: the limit of their keys is %d bytes", ErrHubFull, l.HubBytes)
	default:
		return nil
	}
}

// Watch adds a watcher. It returns the revision of the store when the watcher began:
// with Start 0 it receives all later events.
func (s *Stream) Watch(spec Spec) (w *Watcher, revision int64) {
	h := s.hub
	w = &Watcher{owner: spec.Owner, stream: s, filter: spec.Wants, next: spec.Start, span: spanOf(spec.Range)}
	h.mu.Lock()
	defer h.mu.Unlock()
	others := h.watchers.Add(1) > 1
	revision = h.keys.Head().Revision
	if !others {
		// Events published while there was no watcher were not dispatched.
		h.dispatched = max(h.dispatched, revision)
	}
	if w.next <= 0 {
		w.next = revision + 1
	}
	if len(spec.HistoryRange.Key) > 0 {
		w.past = &past{other: spanOf(spec.HistoryRange), through: revision}
	}
	if w.elder = s.last; w.elder != nil {
		w.elder.younger = w
	} else {
		s.first = w
	}
	s.last = w
	s.watchers++
	s.bytes += w.bytes()
	h.bytes += w.bytes()
	s.latest = max(s.latest, w.next)
	if w.next > w.historyEnd() {
		h.index.add(w)
		return w, revision
	}
	w.state = fallen
	s.fallen = append(s.fallen, w)
	s.lagging.Store(true)
	s.signal()
	return w, revision
}

func spanOf(r kv.KeyRange) span {
	s := span{start: string(r.Key), single: r.SingleKey()}
	if s.endless = r.Unbounded(); !s.endless {
		s.end = string(r.End)
	}
	return s
}

// Cancel ends a watcher: no later Take returns deliveries of it.
func (s *Stream) Cancel(w *Watcher) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	switch w.state {
	case ended:
		return
	case live:
		h.index.remove(w)
		w.clearQueue()
		if w.next > h.dispatched+1 {
			s.signal() // Synced may have waited for it
		}
	case behind:
		w.leaveHistory()
	}
	s.end(w)
}

// end removes a watcher, which is no longer in an index, from the stream. The hub's mutex
// is held.
func (s *Stream) end(w *Watcher) {
	w.state = ended
	if w.elder != nil {
		w.elder.younger = w.younger
	} else {
		s.first = w.younger
	}
	if w.younger != nil {
		w.younger.elder = w.elder
	} else {
		s.last = w.elder
	}
	w.elder, w.younger = nil, nil
	s.watchers--
	s.bytes -= w.bytes()
	s.hub.bytes -= w.bytes()
	s.hub.watchers.Add(-1)
}

// Synced returns a revision up to which all watchers of the stream have received their events. It
// is at least requested, and not below the start of any of them: as in etcd a watcher gets no
// progress before its start. If no such revision is reached yet, ok is false, and Wake will have a
// token when the caller should try again, after Take has returned nothing.
func (s *Stream) Synced(requested int64) (revision int64, ok bool) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.first == nil {
		return h.keys.Head().Revision, true
	}
	if s.events > 0 || len(s.fallen) > 0 || s.behind.n > 0 {
		s.signal()
		return 0, false
	}
	if h.dispatched < requested || s.latest > h.dispatched+1 && s.waitsForFuture() {
		h.asking = append(h.asking, s)
		return 0, false
	}
	return h.dispatched, true
}

// waitsForFuture reports whether the start of a watcher is still in the future. The hub's mutex is
// held.
func (s *Stream) waitsForFuture() bool {
	s.latest = 0
	for w := s.first; w != nil; w = w.younger {
		s.latest = max(s.latest, w.next)
	}
	return s.latest > s.hub.dispatched+1
}

// Synced is Stream.Synced for one watcher, without waiting.
func (w *Watcher) Synced() (revision int64, ok bool) {
	h := w.stream.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dispatched, w.state == live && w.event == nil && w.next <= h.dispatched+1
}

// enqueue moves the stream behind all others with queued events. The hub's mutex is held.
func (s *Stream) enqueue() {
	h := s.hub
	if s.older = h.newest; s.older != nil {
		s.older.newer = s
	} else {
		h.oldest = s
	}
	h.newest = s
}

// forget drops the queued events. The hub's mutex is held.
func (s *Stream) forget() {
	if s.events == 0 {
		return
	}
	s.hub.events -= s.events
	s.events, s.queuedBytes = 0, 0
	s.unlink()
}

// unlink takes the stream, which has no queued events, out of the hub's list of those that have.
// The hub's mutex is held.
func (s *Stream) unlink() {
	h := s.hub
	if s.older != nil {
		s.older.newer = s.newer
	} else {
		h.oldest = s.newer
	}
	if s.newer != nil {
		s.newer.older = s.older
	} else {
		h.newest = s.older
	}
	s.older, s.newer = nil, nil
	clear(s.ready)
	s.ready = s.ready[:0]
}

// dropQueued drops the queued events: the watchers read them from history instead.
// The hub's mutex is held.
func (s *Stream) dropQueued() {
	for _, w := range s.ready {
		if w.state == live && w.event != nil {
			w.next = w.event.Revision()
			w.event, w.events = nil, nil
			w.fallBehind()
		}
	}
	s.forget()
}

// clearQueue drops the queued events of a watcher before it ends. The hub's mutex is held.
func (w *Watcher) clearQueue() {
	if w.event == nil {
		return
	}
	s := w.stream
	n, bytes := 1+len(w.events), w.event.bytes()
	for _, e := range w.events {
		bytes += e.bytes()
	}
	w.event, w.events = nil, nil
	if s.events == n {
		s.forget()
		return
	}
	s.events -= n
	s.queuedBytes -= bytes
	s.hub.events -= n
}
