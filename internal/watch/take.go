package watch

import (
	"errors"
	"fmt"

	"cairn/internal/invariant"
	"cairn/internal/kv"
	"cairn/internal/mvcc"
)

// Delivery is one delivery to a watcher: events of whole revisions, in order; or its end, when
// Compacted is not 0.
type Delivery struct {
	Watcher *Watcher
	Events  []*Event
	// Compacted is set when the watcher ended because it needs compacted revisions: it is the
	// oldest revision that history has.
	Compacted int64
}

// Take returns the next deliveries; none when the caller must wait for Wake. The
// deliveries are valid until the next call. An error is ErrClosed or the
// store's.
func (s *Stream) Take() ([]Delivery, error) { return s.TakeUpTo(s.hub.limits.SliceBytes) }

// TakeUpTo is Take for a caller that wants no more than some bytes of events at a time: it returns
// no further revision once it has as much. If events remain, Wake has a token.
func (s *Stream) TakeUpTo(bytesMax int) ([]Delivery, error) {
	s.dropTaken()
	s.takeLive(bytesMax)
	if s.behind.n > 0 && s.takenBytes < bytesMax {
		if err := s.catchUp(bytesMax - s.takenBytes); err != nil {
			return nil, fmt.Errorf("watch: %w", err)
		}
	}
	if invariant.Enabled {
		s.checkDeliveries()
	}
	return s.deliveries, nil
}

// checkDeliveries checks that the events of each delivery are in order.
func (s *Stream) checkDeliveries() {
	for _, d := range s.deliveries {
		last := int64(0)
		for _, e := range d.Events {
			invariant.Check(e.Revision() >= last, "an event of revision %d is delivered after one of %d", e.Revision(), last)
			last = e.Revision()
		}
	}
}

// Behind reports whether the next deliveries are read from history.
func (s *Stream) Behind() bool { return s.behind.n > 0 || s.lagging.Load() }

// TakenBytes returns how many bytes the events of the last deliveries take.
func (s *Stream) TakenBytes() int { return s.takenBytes }

// Done drops the last deliveries, which the caller no longer needs: a stream may then wait for
// long.
func (s *Stream) Done() { s.dropTaken() }

func (s *Stream) dropTaken() {
	clear(s.deliveries)
	clear(s.taken)
	s.deliveries, s.taken, s.takenBytes = s.deliveries[:0], s.taken[:0], 0
}

// takenKept is the maximum length of a list of events that is reused for the next Take.
const takenKept = 4 << 10

// takeLive takes the events that the hub has queued, and the watchers that have fallen behind.
func (s *Stream) takeLive(bytesMax int) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s.wokenUp()
	switch {
	case s.queuedBytes > bytesMax:
		s.takeSome(bytesMax)
	case s.events > 0:
		s.takeAll()
	}
	for i, w := range s.fallen {
		if w.state == fallen {
			w.enterHistory()
			s.laggards = append(s.laggards, w)
		}
		s.fallen[i] = nil
	}
	s.fallen = s.fallen[:0]
	s.lagging.Store(false)
	if s.events > 0 || s.behind.n > 0 && s.takenBytes >= bytesMax {
		s.signal()
	}
}

// takeAll takes all queued events. The hub's mutex is held.
func (s *Stream) takeAll() {
	if cap(s.taken) < s.events || cap(s.taken) > takenKept {
		s.taken = make([]*Event, 0, s.events)
	}
	for _, w := range s.ready {
		if w.state != live || w.event == nil {
			continue
		}
		at := len(s.taken)
		s.taken = append(append(s.taken, w.event), w.events...)
		w.event, w.events = nil, nil
		s.deliveries = append(s.deliveries, Delivery{Watcher: w, Events: s.taken[at:len(s.taken):len(s.taken)]})
	}
	s.takenBytes = s.queuedBytes
	s.forget()
}

// takeSome takes whole revisions of queued events until it has bytesMax bytes. The hub's mutex is
// held.
func (s *Stream) takeSome(bytesMax int) {
	s.taken = nil // lists of their own: there is no room for all
	before := 0
	for i, w := range s.ready {
		if w.state != live || w.event == nil {
			continue
		}
		if s.takenBytes >= bytesMax {
			before = i
			break
		}
		before = len(s.ready)
		events := s.takeOf(w, bytesMax)
		s.deliveries = append(s.deliveries, Delivery{Watcher: w, Events: events})
		s.events -= len(events)
		s.hub.events -= len(events)
		if w.event != nil {
			before = i
			break
		}
	}
	s.queuedBytes -= s.takenBytes
	if s.events == 0 {
		s.unlink()
		return
	}
	clear(s.ready[:before])
	s.ready = s.ready[before:]
}

// takeOf takes queued events of one watcher, at least a revision of them. The hub's mutex is held.
func (s *Stream) takeOf(w *Watcher, bytesMax int) []*Event {
	n := 0 // of w.events
	s.takenBytes += w.event.bytes()
	last := w.event.Revision()
	for n < len(w.events) && (s.takenBytes < bytesMax || w.events[n].Revision() == last) {
		s.takenBytes += w.events[n].bytes()
		last = w.events[n].Revision()
		n++
	}
	events := append(append(make([]*Event, 0, n+1), w.event), w.events[:n]...)
	clear(w.events[:n]) // the list is kept until all of it has been taken
	rest := w.events[n:]
	w.event, w.events = nil, nil
	if len(rest) > 0 {
		w.event, w.events = rest[0], rest[1:]
		rest[0] = nil
	}
	return events
}

// slice is a piece of history that is read for the watchers behind.
type slice struct {
	stream  *Stream
	from    int64
	through int64 // the last revision that was read
	stopped bool  // before the end of history
	first   *Event
	read    int // events
	bytes   int // of events taken
	given   int // events taken, counted for each watcher
	most    int // how many bytes to take
	lent    Event
}

// catchUp reads one slice of history. It starts alternately at the revision of the watcher that is
// furthest behind and of the one that is least behind, so that a watcher that lacks little does not
// wait for one that lacks a lot.
func (s *Stream) catchUp(bytesMax int) error {
	s.hub.reading.RLock()
	defer s.hub.reading.RUnlock()
	select {
	case <-s.hub.closed:
		return ErrClosed
	default:
	}
	newest := s.hub.keys.Head()
	head := newest.Revision
	c := slice{stream: s, most: min(bytesMax, s.hub.limits.SliceBytes)}
	s.eachBehind(func(w *Watcher) {
		if c.from == 0 || (w.next > c.from) == s.highFirst {
			c.from = w.next
		}
	})
	s.highFirst = !s.highFirst
	if c.from <= mvcc.FirstRevision {
		// The event of a compact revision remains, so that history alone does not show that an
		// earlier revision was requested.
		if newest.CompactRevision > c.from {
			s.endCompacted(newest.CompactRevision)
			s.addToken()
			return nil
		}
		c.from = min(mvcc.FirstRevision+1, head)
		s.eachBehind(func(w *Watcher) { w.next = max(w.next, c.from) })
	}
	live := len(s.deliveries)
	oldest, err := s.hub.keys.History(c.from, head, c.visit)
	switch {
	case errors.Is(err, mvcc.ErrCompacted):
		s.endCompacted(oldest)
		s.addToken()
		return nil
	case err != nil:
		return err
	}
	if !c.stopped {
		c.through = head
	}
	s.takenBytes += c.bytes
	for i := live; i < len(s.deliveries); i++ {
		s.deliveries[i].Watcher.deliveryInSlice = 0
	}
	s.rejoin(&c)
	return nil
}

// visit processes an event of history, and reports whether to continue.
func (c *slice) visit(e *kv.Event) bool {
	rev := e.Record.Mod.Main
	if e.Record.Mod.Sub == 0 {
		if c.full() {
			c.through, c.stopped = rev-1, true
			return false
		}
		c.first = nil
	}
	c.read++
	var own *Event
	take := func() {
		if own == nil {
			own = clone(e)
			own.First = c.first
			c.bytes += own.bytes()
		}
	}
	if e.Dir && e.Record.Mod.Sub == 0 {
		take()
		c.first = own
	}
	c.stream.behind.match(e.Key, func(w *Watcher) {
		// A watcher that needs earlier revisions must not receive later ones first.
		if w.next < c.from || w.next > rev {
			return
		}
		candidate := own
		if candidate == nil {
			// Wants gets the original event: only delivered events are copied.
			c.lent.Event, c.lent.First = *e, c.first
			candidate = &c.lent
		}
		if w.wants(candidate) {
			take()
			c.give(w, own)
		}
	})
	return true
}

func (c *slice) give(w *Watcher, e *Event) {
	s := c.stream
	if w.deliveryInSlice == 0 {
		s.deliveries = append(s.deliveries, Delivery{Watcher: w})
		w.deliveryInSlice = len(s.deliveries)
	}
	d := &s.deliveries[w.deliveryInSlice-1]
	d.Events = append(d.Events, e)
	c.given++
}

// full reports whether the slice must end with the current revision.
func (c *slice) full() bool {
	l := &c.stream.hub.limits
	return c.read >= l.SliceEvents || c.bytes >= c.most || c.given >= l.DeliveryEvents
}

// eachBehind visits the watchers behind, in the order in which they fell behind.
func (s *Stream) eachBehind(visit func(*Watcher)) {
	for _, w := range s.laggards {
		if w.state == behind {
			visit(w)
		}
	}
}

// rejoin updates the watchers after a slice, and makes those live that have received everything
// dispatched so far.
func (s *Stream) rejoin(c *slice) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	left := s.laggards[:0]
	for _, w := range s.laggards {
		if w.state != behind {
			continue
		}
		if w.next >= c.from && w.next <= c.through {
			w.next = c.through + 1
		}
		if w.next <= w.historyEnd() {
			left = append(left, w)
			continue
		}
		w.leaveHistory()
		w.state = live
		h.index.add(w)
	}
	clear(s.laggards[len(left):])
	if s.laggards = left; len(left) > 0 {
		s.signal()
	} else if cap(left) > takenKept {
		s.laggards = nil
	}
}

// endCompacted ends the watchers that need compacted revisions.
func (s *Stream) endCompacted(oldest int64) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range s.laggards {
		if w.state == behind && w.next < oldest {
			w.leaveHistory()
			s.end(w)
			s.deliveries = append(s.deliveries, Delivery{Watcher: w, Compacted: oldest})
		}
	}
}
