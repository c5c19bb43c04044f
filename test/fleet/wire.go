package fleet

import (
	"sync"
	"time"
)

// Rule is applied to the bytes that one member sends another.
type Rule struct {
	// Refuse closes the connections that the sender has opened, and any new one.
	Refuse bool
	// Drop delivers nothing, on connections opened by either side. They stay open, as when packets
	// are lost; what was sent is delivered once the rule has been removed.
	Drop bool
	// Delay is added to the delivery of every byte.
	Delay time.Duration
}

type pair struct{ from, to uint64 }

// Wire holds the rules of the proxies between the members.
type Wire struct {
	mu      sync.Mutex
	rules   map[pair]Rule            // guarded by mu
	streams map[*connection]struct{} // guarded by mu: the open ones
	changed chan struct{}            // guarded by mu: closed and replaced when rules change
	cuts    int                      // guarded by mu: connections that were cut
}

func newWire() *Wire {
	return &Wire{rules: map[pair]Rule{}, streams: map[*connection]struct{}{}, changed: make(chan struct{})}
}

// Set makes a rule for what one member sends another. The zero Rule is none.
func (w *Wire) Set(from, to *Member, r Rule) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r == (Rule{}) {
		delete(w.rules, pair{from.ID(), to.ID()})
	} else {
		w.rules[pair{from.ID(), to.ID()}] = r
	}
	w.apply()
}

// Both makes a rule for both directions between each of some members and each of others.
func (w *Wire) Both(some, others []*Member, r Rule) {
	for _, a := range some {
		for _, b := range others {
			if a != b {
				w.Set(a, b, r)
				w.Set(b, a, r)
			}
		}
	}
}

// Heal removes all rules.
func (w *Wire) Heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.rules)
	w.apply()
}

// Cut closes every connection for which yes returns true, in the middle of its traffic, and returns
// their number.
func (w *Wire) Cut(yes func() bool) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.streams {
		if yes() {
			c.close()
			n++
		}
	}
	w.cuts += n
	return n
}

// apply applies the rules to the open connections. The caller holds mu.
func (w *Wire) apply() {
	for c := range w.streams {
		if w.rules[pair{c.from, c.to.ID()}].Refuse {
			c.close()
		}
	}
	close(w.changed)
	w.changed = make(chan struct{})
}

// rule returns the rule for a direction, and a channel that is closed when it may have changed.
func (w *Wire) rule(from, to uint64) (Rule, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rules[pair{from, to}], w.changed
}

// open registers a connection, and reports whether the rules allow it.
func (w *Wire) open(c *connection) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.rules[pair{c.from, c.to.ID()}].Refuse {
		return false
	}
	w.streams[c] = struct{}{}
	return true
}

func (w *Wire) closed(c *connection) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.streams, c)
}
