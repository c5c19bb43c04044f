package sim

import (
	"cairn/check"
	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/watch"
)

// stream is one watcher's connection to a member's hub. It records what the watcher receives.
type stream struct {
	w      *world
	m      *member
	s      *watch.Stream
	log    int // index in history's Watches
	life   int
	next   int64 // the first revision that was not delivered
	pace   int64 // maximum delay before it takes
	over   func(s *stream)
	taking bool
	closed bool
	asked  int64 // the revision of a requested progress notification, 0 for none
}

// watchSpec is what a watcher watches.
type watchSpec struct {
	client        int
	key, end      string
	start         int64
	prevKV        bool
	noPut, noDel  bool
	pace          int64
	progressEvery int64
	over          func(s *stream) // called when the connection is lost, or the watch has ended
	dirs          bool            // also events of directories
}

// watch opens a watch at a member, which must run.
func (m *member) watch(spec watchSpec) *stream {
	s := &stream{w: m.w, m: m, s: m.hub.NewStream(), life: m.life, pace: spec.pace, over: spec.over, log: len(m.w.h.Watches)}
	_, created := s.s.Watch(watch.Spec{
		Range: keyRange(spec.key, spec.end), Start: spec.start,
		Wants: func(e *watch.Event) bool {
			return (!e.Dir || spec.dirs) && (!spec.noPut || e.Type != kv.EventPut) && (!spec.noDel || e.Type != kv.EventDelete)
		},
	})
	s.next = spec.start
	if spec.start <= 0 {
		s.next = created + 1
	}
	m.w.h.Watches = append(m.w.h.Watches, check.Watch{
		Client: spec.client, Key: spec.key, End: spec.end, Start: spec.start, Created: created,
		PrevKV: spec.prevKV, NoPut: spec.noPut, NoDel: spec.noDel, Dirs: spec.dirs, Member: m.name,
	})
	m.w.stats.Watches++
	m.streams = append(m.streams, s)
	s.queueTake()
	if spec.progressEvery > 0 {
		m.later(m.w.between(0, spec.progressEvery), func() { s.progress(spec.progressEvery) })
	}
	return s
}

// lost ends a stream whose member has stopped.
func (s *stream) lost() {
	if s.closed {
		return
	}
	s.closed = true
	if s.over != nil {
		s.w.after(s.w.between(millisecond, 300*millisecond), func() { s.over(s) })
	}
}

// close ends a stream that its client closes.
func (s *stream) close() {
	if s.closed || s.m.life != s.life {
		return
	}
	s.closed = true
	s.s.Close()
	for i, other := range s.m.streams {
		if other == s {
			s.m.streams = append(s.m.streams[:i], s.m.streams[i+1:]...)
			break
		}
	}
}

// queueDispatch schedules the dispatch of events.
func (m *member) queueDispatch() {
	if m.dispatching {
		return
	}
	m.dispatching = true
	m.later(m.w.between(0, 2*millisecond), func() {
		m.dispatching = false
		m.hub.Dispatch()
		for _, s := range m.streams {
			s.queueTake()
		}
	})
}

// queueTake schedules a Take of the stream.
func (s *stream) queueTake() {
	if s.taking || s.closed {
		return
	}
	s.taking = true
	s.m.later(s.w.between(0, s.pace), s.take)
}

// take records the deliveries, slice by slice.
func (s *stream) take() {
	s.taking = false
	if s.closed {
		return
	}
	select {
	case <-s.s.Wake():
	default:
		return
	}
	deliveries, err := s.s.Take()
	if err != nil {
		s.m.broken(err)
		return
	}
	for i := range deliveries {
		d := &deliveries[i]
		if d.Compacted != 0 {
			s.record(check.Delivery{Compacted: d.Compacted})
			s.w.note(s.m.name, "watch %d ends: compacted at %d", s.log, d.Compacted)
			s.close()
			if s.over != nil {
				s.next = 0
				s.over(s)
			}
			return
		}
		s.deliver(d.Events)
	}
	s.answerProgress()
	s.queueTake()
}

// bufferMax is the size of a planted bug's buffer of events.
const bufferMax = 6

func (s *stream) deliver(events []*watch.Event) {
	if s.w.bug == bugLostEvent && s.w.h.Watches[s.log].Client >= 0 && len(events) > bufferMax {
		events = events[:bufferMax]
	}
	out := check.Delivery{}
	for _, e := range events {
		event := check.Event{Delete: e.Type == kv.EventDelete, Dir: e.Dir, KV: recordOf(e.Key, &e.Record)}
		if event.Delete || event.Dir {
			event.KV = check.KV{Key: string(e.Key), Mod: e.Revision()}
		}
		if s.w.h.Watches[s.log].PrevKV && !e.Dir && !e.PrevGone && !e.Prev.Mod.IsZero() && !e.Prev.Deleted {
			prev := recordOf(e.Key, &e.Prev)
			event.Prev = &prev
		}
		out.Events = append(out.Events, event)
		out.Revision = e.Revision()
		s.next = e.Revision() + 1
	}
	s.record(out)
}

func (s *stream) record(d check.Delivery) {
	d.At = s.w.now
	log := &s.w.h.Watches[s.log]
	log.Deliveries = append(log.Deliveries, d)
	s.w.stats.Deliveries++
}

// progress requests progress notifications at intervals.
func (s *stream) progress(every int64) {
	if s.closed {
		return
	}
	s.m.later(s.w.between(every/2, every), func() { s.progress(every) })
	s.asked = s.m.machine.Keys().Head().Revision
	if s.w.bug == bugEagerProgress {
		s.record(check.Delivery{Progress: true, Revision: s.asked})
		return
	}
	s.answerProgress()
}

func (s *stream) answerProgress() {
	if s.asked == 0 {
		return
	}
	if rev, ok := s.s.Synced(s.asked); ok {
		s.asked = 0
		s.record(check.Delivery{Progress: true, Revision: rev})
		s.next = max(s.next, rev+1)
	}
}

// observe watches all keys at this member for the simulator, which learns the events of a revision
// from the first member that delivers them.
func (m *member) observe() {
	m.watch(watchSpec{client: -1, key: "\x00", end: "\x00", dirs: true, start: m.observed, prevKV: true, pace: 5 * millisecond, over: func(s *stream) {
		m.observed = s.next
		if m.up && m.life == s.life {
			m.observe() // it was compacted; other members have delivered it
		}
	}})
}

// watch is a client that watches. When its stream is lost, or at random, it continues at another
// member, behind the last revision that it received.
func (c *client) watch(key, end string, start int64) {
	w := c.w
	m := c.home()
	if m == nil || m.pausedUntil > w.now {
		w.after(w.between(10*millisecond, 200*millisecond), func() { c.watch(key, end, start) })
		return
	}
	spec := watchSpec{
		client: c.id, key: key, end: end, start: start, prevKV: c.rng.IntN(2) == 0,
		pace: []int64{millisecond, 20 * millisecond, 800 * millisecond}[c.rng.IntN(3)],
		over: func(s *stream) {
			c.move()
			c.watch(key, end, s.next)
		},
	}
	switch c.rng.IntN(6) {
	case 0:
		spec.noPut = true
	case 1:
		spec.noDel = true
	}
	if c.rng.IntN(2) == 0 {
		spec.progressEvery = 700 * millisecond
	}
	if who := m.machine.Auth().State().Subject(&auth.Actor{Name: c.user}); who == nil || !who.CanRead(keyRange(key, end)) {
		w.after(w.between(10*millisecond, 200*millisecond), func() { c.watch(key, end, start) })
		return
	}
	s := m.watch(spec)
	if w.quiet {
		return
	}
	m.later(w.between(300*millisecond, 6*second), func() {
		if s.closed {
			return
		}
		s.close()
		c.move()
		c.watch(key, end, s.next)
	})
}
