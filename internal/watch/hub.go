// Package watch delivers changes to watchers: all of them, in order, each once.
//
// It owns the Hub, to which the applier publishes the changes of each batch, the index of watchers
// by key and range, and the two sources of a watcher's events. For a live watcher the hub queues
// events as they are published. A watcher that begins in the past, or whose stream does not take
// the queued events, is behind: its stream reads the events from the history, table r, in slices,
// until the watcher has caught up and is live again. It does not own the encoding of events on the
// wire, goroutines or timers: v3rpc and v2http wait for a Stream's Wake and take from it.
//
// The path of an event:
//
//  1. The applier calls Publish when the batch is visible. Without watchers that is
//     one atomic load; with watchers the batch is copied (not its bytes) into a queue.
//     It never waits: a queue that is too long is dropped, and all watchers are behind.
//  2. A goroutine of the member, woken by Wake, calls Dispatch, which finds the
//     watchers of each event and queues it for them.
//  3. The goroutine of the stream, woken by Stream.Wake, calls Take.
//
// Invariants:
//   - Every event of a live watcher's range from its start up to Hub.dispatched, and no other, was
//     delivered to it or is queued for it. A watcher that is behind has received every event before
//     Watcher.next.
//   - The events of one revision are delivered together.
//   - The queued events of all streams are among the last Limits.WindowBytes dispatched, so the
//     memory of a slow stream is bounded.
//
// TestModel compares deliveries with a model; in builds with the tag invariants, Hub.checkQueues
// checks the bounds and Stream.checkDeliveries the order.
//
// Concurrency: Publish belongs to the applier, Dispatch to one goroutine, a Stream and its Watchers
// to one goroutine each. Hub.mu guards their shared state; it is held for one revision or one Take
// at a time and never while reading the store.
package watch

import (
	"errors"
	"iter"
	"sync"
	"sync/atomic"

	"cairn/internal/invariant"
	"cairn/internal/kv"
	"cairn/internal/mvcc"
)

// Limits are limits of the hub's memory, and of what a stream reads of history at a time. They are
// checked at the end of a revision: a revision is delivered as a whole, whatever its size. Zero
// values mean the defaults.
type Limits struct {
	QueueBytes     int // published and not dispatched
	WindowBytes    int // dispatched and not taken by the slowest stream
	StreamEvents   int // queued in one stream, counted for each watcher
	HubEvents      int // queued in all streams
	SliceEvents    int // read of history at a time
	SliceBytes     int // of the events that are collected for watchers
	DeliveryEvents int // collected events, counted for each watcher
	StreamWatchers int // in one stream; see Stream.Room
	StreamBytes    int // keys of the watchers of one stream
	HubWatchers    int // in all streams
	HubBytes       int // keys of all watchers
}

func (l *Limits) setDefaults() {
	for _, d := range [...]struct {
		value    *int
		standard int
	}{
		{&l.QueueBytes, 64 << 20},
		{&l.WindowBytes, 64 << 20},
		{&l.StreamEvents, 256 << 10},
		{&l.HubEvents, 4 << 20},
		{&l.SliceEvents, 8 << 10},
		{&l.SliceBytes, 1 << 20},
		{&l.DeliveryEvents, 16 << 10},
		{&l.StreamWatchers, 128 << 10},
		{&l.StreamBytes, 64 << 20},
		{&l.HubWatchers, 1 << 20},
		{&l.HubBytes, 256 << 20},
	} {
		if *d.value == 0 {
			*d.value = d.standard
		}
	}
}

// Hub delivers published events to watchers.
type Hub struct {
	keys   *mvcc.Store
	limits Limits

	watchers atomic.Int64
	wake     chan struct{}
	closed   chan struct{}
	closing  sync.Once

	reading sync.RWMutex // read-locked while history is read; Close waits for it

	queueMu sync.Mutex // guards the queue
	queue   []batch
	queued  int   // size of the queue
	lost    int64 // the last revision that was dropped from the front of the queue

	// guards the fields below, and those fields of Stream and Watcher that say so
	mu              sync.Mutex
	dispatched      int64 // the revision up to which live watchers have received their events
	index           index // the live watchers
	streams         []*Stream
	behind          int     // number of watchers that are behind
	dispatchedBytes int64   // bytes of events dispatched so far
	events          int     // queued in all streams
	bytes           int     // keys of all watchers
	oldest          *Stream // streams with queued events, sorted by queuedSince
	newest          *Stream
	// streams above their limit of queued events; empty between dispatches
	overfull []*Stream
	asking   []*Stream // streams to be woken at the end of Dispatch
	fanOut   fanOut
}

// New returns a hub for the events of a store.
func New(keys *mvcc.Store, limits Limits) *Hub {
	limits.setDefaults()
	return &Hub{keys: keys, limits: limits, wake: make(chan struct{}, 1), closed: make(chan struct{}), fanOut: fanOut{round: 1, max: AwakeMax}}
}

// ErrClosed is returned by Take when the hub is closed.
var ErrClosed = errors.New("watch hub closed")

// The errors of Room.
var (
	// ErrStreamFull reports that a stream has reached its limit of watchers.
	ErrStreamFull = errors.New("too many watches on this stream")
	// ErrHubFull reports that all streams together have reached the hub's limit.
	ErrHubFull = errors.New("too many watches on this member")
)

// Close ends all streams, which detect it by Closed, or are notified. No stream reads the store
// afterwards. Publish and Dispatch may still be called.
func (h *Hub) Close() {
	h.closing.Do(func() {
		h.reading.Lock()
		defer h.reading.Unlock()
		close(h.closed)
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, s := range h.streams {
			if s.notify != nil {
				s.notify()
			}
		}
	})
}

// Closed is closed by Close.
func (h *Hub) Closed() <-chan struct{} { return h.closed }

// Wake has a token when there is something to Dispatch.
func (h *Hub) Wake() <-chan struct{} { return h.wake }

// Watchers returns the number of watchers.
func (h *Hub) Watchers() int64 { return h.watchers.Load() }

// Load is the work of the hub at a moment.
type Load struct {
	Streams int
	Behind  int // watchers that read from history
	Events  int // that wait to be dispatched, or to be taken by a stream
}

// Load returns the current load.
func (h *Hub) Load() (l Load) {
	h.queueMu.Lock()
	for i := range h.queue {
		l.Events += len(h.queue[i].events)
	}
	h.queueMu.Unlock()
	h.mu.Lock()
	defer h.mu.Unlock()
	l.Streams, l.Events = len(h.streams), l.Events+h.events
	l.Behind = h.behind
	return l
}

// Publish publishes the events of a batch, n of them, which readers of the store see already. They
// are copied, but not the bytes that they refer to.
func (h *Hub) Publish(events iter.Seq[*kv.Event], n int) {
	// A watcher that is not counted yet will read the head later, and thus begin behind this batch.
	if n == 0 || h.watchers.Load() == 0 {
		return
	}
	b := batch{events: make([]Event, 0, n)}
	for e := range events {
		b.events = append(b.events, Event{Event: *e})
	}
	link(b.events)
	for i := range b.events {
		b.bytes += b.events[i].bytes()
	}
	h.queueMu.Lock()
	if len(h.queue) > 0 && h.queued+b.bytes > h.limits.QueueBytes {
		clear(h.queue)
		h.queue, h.queued, h.lost = h.queue[:0], 0, b.last()
	} else {
		h.queue = append(h.queue, b)
		h.queued += b.bytes
	}
	h.queueMu.Unlock()
	signal(h.wake)
}

// PublishReplaced notifies the hub that the store was replaced by a state at a revision, which
// readers see already. The events up to that state are not published: watchers read them from
// history, or end if history does not reach back far enough. Only the applier calls it, as Publish.
func (h *Hub) PublishReplaced(revision int64) {
	if h.watchers.Load() == 0 {
		return
	}
	h.queueMu.Lock()
	clear(h.queue)
	h.queue, h.queued, h.lost = h.queue[:0], 0, revision
	h.queueMu.Unlock()
	signal(h.wake)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Dispatch queues published events for the live watchers, and wakes streams.
func (h *Hub) Dispatch() {
	h.queueMu.Lock()
	batches, lost := h.queue, h.lost
	h.queue, h.queued, h.lost = nil, 0, 0
	h.queueMu.Unlock()
	if lost > 0 {
		h.mu.Lock()
		h.skipTo(lost)
		h.mu.Unlock()
	}
	for i := range batches {
		events := batches[i].events
		for len(events) > 0 {
			n := 1
			for n < len(events) && events[n].Revision() == events[0].Revision() {
				n++
			}
			h.dispatch(events[:n])
			events = events[n:]
		}
	}
	h.mu.Lock()
	for i, s := range h.asking {
		s.signal()
		h.asking[i] = nil
	}
	h.asking = h.asking[:0]
	if h.fanOut.awake <= h.fanOut.max/awakePart {
		h.wakeNext()
	}
	h.mu.Unlock()
}

// skipTo makes all watchers read the revisions up to rev from history. The mutex is held.
func (h *Hub) skipTo(rev int64) {
	if rev <= h.dispatched {
		return
	}
	for _, s := range h.streams {
		s.dropQueued()
		for w := s.first; w != nil; w = w.younger {
			if w.state == live && w.next <= rev {
				w.next = max(w.next, h.dispatched+1)
				w.fallBehind()
			}
		}
	}
	h.dispatched = rev
}

// dispatch queues the events of one revision for their watchers.
func (h *Hub) dispatch(events []Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	rev := events[0].Revision()
	if rev <= h.dispatched {
		return // published before there were watchers
	}
	// Revisions have no gaps, so the missing events are in the history.
	h.skipTo(rev - 1)
	for i := range events {
		e := &events[i]
		h.dispatchedBytes += int64(e.bytes())
		h.index.match(e.Key, func(w *Watcher) {
			if w.next <= rev && w.wants(e) {
				w.queue(e)
			}
		})
	}
	h.dispatched = rev
	for s := h.oldest; s != nil && (h.dispatchedBytes-s.queuedSince > int64(h.limits.WindowBytes) || h.events > h.limits.HubEvents); s = h.oldest {
		s.dropQueued()
	}
	for _, s := range h.overfull {
		if s.events > h.limits.StreamEvents {
			s.dropQueued()
		}
	}
	clear(h.overfull)
	h.overfull = h.overfull[:0]
	if invariant.Enabled {
		h.checkQueues()
	}
}

// checkQueues checks the bounds of what is queued and its count. The mutex is held.
func (h *Hub) checkQueues() {
	events := 0
	for _, s := range h.streams {
		events += s.events
		age := h.dispatchedBytes - s.queuedSince
		invariant.Check(s.events == 0 || age <= int64(h.limits.WindowBytes), "a stream holds events from %d bytes ago", age)
	}
	invariant.Check(events == h.events, "the streams hold %d events, the hub counts %d", events, h.events)
}
