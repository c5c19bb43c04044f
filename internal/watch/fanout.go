package watch

// A change that thousands of streams watch would make as many goroutines runnable at once, and
// every other request would wait behind all of them. So the hub wakes wakeMax streams at a time;
// the others form a crowd, and are woken in order of arrival when those before have taken what they
// were woken for.
//
// A stream whose consumer is busy, such as one that waits for its client, gets its token at once:
// that makes no goroutine runnable.

const (
	// wakeMax is how many streams are awake at a time: woken, with events that they have not taken
	// yet. It is some milliseconds of work.
	wakeMax = 128
	// wakeMin is the number of streams still awake at which the next ones are woken.
	wakeMin = wakeMax / 8
)

// fanOut is the order in which streams are woken. Hub.mu guards it.
type fanOut struct {
	awake int
	round int       // of waking; streams that were woken in an earlier one do not count as awake
	crowd []*Stream // those to be woken, in order
}

// Crowded reports whether streams wait to be woken. Wake has a token when Dispatch should wake the
// next ones, unless streams that were woken take nothing: see WakeStalled.
func (h *Hub) Crowded() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.fanOut.crowd) > 0
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

// wakeNext wakes streams of the crowd, up to wakeMax. The mutex is held.
func (h *Hub) wakeNext() {
	f := &h.fanOut
	n := 0
	for n < len(f.crowd) && f.awake < wakeMax {
		s := f.crowd[n]
		f.crowd[n] = nil
		n++
		if s.crowded {
			s.crowded = false
			s.signal()
		}
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
	case f.awake >= wakeMax:
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
	if f.awake--; f.awake == wakeMin && len(f.crowd) > 0 {
		signal(s.hub.wake)
	}
}
