package watch

// A change that thousands of streams watch would make as many goroutines runnable at once, and
// every other request would wait behind all of them. So the hub wakes AwakeMax streams at a time,
// or fewer (SetAwakeMax); the others form a crowd, and are woken in order of arrival when those
// before have taken what they were woken for.
//
// A stream whose consumer is busy, such as one that waits for its client, gets its token at once:
// that makes no goroutine runnable.

const (
	// AwakeMax is how many streams are awake at a time: woken, with events that they have not taken
	// yet. It is a millisecond of work if each has one event.
	AwakeMax = 128
	// awakePart is the part of them that are still awake when the next ones are woken.
	awakePart = 8
)

// fanOut is the order in which streams are woken. Hub.mu guards it.
type fanOut struct {
	max    int // how many may be awake
	groups int // how often streams of the crowd were woken
	awake  int
	round  int       // of waking; streams that were woken in an earlier one do not count as awake
	crowd  []*Stream // those to be woken, in order
}

// Crowded reports whether streams wait to be woken. Wake has a token when Dispatch should wake the
// next ones, unless streams that were woken take nothing: see WakeStalled.
func (h *Hub) Crowded() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.fanOut.crowd) > 0
}

// Groups returns how often streams of the crowd were woken.
func (h *Hub) Groups() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fanOut.groups
}

// SetAwakeMax sets how many streams are awake at a time, from 1 to AwakeMax: streams that have many
// events take long.
func (h *Hub) SetAwakeMax(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fanOut.max = n
}

// WakeStalled wakes the next streams although those before have not taken their events. The caller
// of Dispatch calls it when the hub has been crowded, without a token in Wake, for longer than that
// usually takes.
func (h *Hub) WakeStalled() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fanOut.round++
	h.fanOut.awake = 0
	h.wakeNext()
}

// wakeNext wakes streams of the crowd, up to max. The mutex is held.
func (h *Hub) wakeNext() {
	f := &h.fanOut
	n := 0
	for n < len(f.crowd) && f.awake < f.max {
		s := f.crowd[n]
		f.crowd[n] = nil
		n++
		if s.crowded {
			s.crowded = false
			s.signal()
		}
	}
	if n > 0 {
		f.groups++
	}
	if f.crowd = f.crowd[n:]; len(f.crowd) == 0 {
		f.crowd = nil
	}
}

// signal notifies the consumer, at once or in its turn, that Take may return something. The hub's
// mutex is held.
func (s *Stream) signal() {
	f := &s.hub.fanOut
	switch {
	case s.crowded, s.awakeIn == f.round:
		return
	case !s.waits.Load():
	case f.awake >= f.max:
		s.crowded = true
		f.crowd = append(f.crowd, s)
		return
	default:
		s.awakeIn = f.round
		f.awake++
	}
	s.addToken()
}

// addToken notifies the consumer at once.
func (s *Stream) addToken() {
	if s.notify != nil {
		s.notify()
		return
	}
	signal(s.wake)
}

// wokenUp is called when the stream takes its events, or ends: it is no longer awake, and need not
// be woken. The hub's mutex is held.
func (s *Stream) wokenUp() {
	f := &s.hub.fanOut
	s.crowded = false
	s.waits.Store(s.notify != nil)
	if s.awakeIn != f.round {
		return
	}
	s.awakeIn = 0
	if f.awake--; f.awake <= f.max/awakePart && len(f.crowd) > 0 {
		signal(s.hub.wake)
	}
}
