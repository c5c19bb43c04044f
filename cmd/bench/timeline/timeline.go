// Package timeline records how many operations completed, and how long puts took, over the phases
// of a long run.
//
// It owns the division of time: phases, which the caller begins, slots of equal width within a
// phase, and windows, which are cut from the slots afterwards. It has no clock and no format.
//
// Invariants:
//   - A phase has at most maxSlots slots: when it lasts longer, the slots double their width
//     (TestLongPhaseKeepsItsCounts). So a run of an hour takes as much memory as one of a minute.
//   - No slot belongs to two phases, and each put and each operation is in exactly one slot.
//
// Concurrency: all methods of Timeline may be called at the same time. Phases returns copies.
package timeline

import (
	"sync"
	"time"

	"cairn/cmd/bench/histogram"
)

const (
	maxSlots   = 240
	firstWidth = 100 * time.Millisecond
)

// Timeline is the record of a run.
type Timeline struct {
	start time.Time

	mu     sync.Mutex
	phases []*phase
	open   bool // the last phase has not ended
}

// phase is one stretch of a run.
type phase struct {
	name       string
	start, end time.Time
	width      time.Duration // of each slot
	slots      []slot
}

// slot counts what completed in one interval of a phase.
type slot struct {
	work uint64
	puts *histogram.Histogram // nil: none
}

// New returns an empty timeline of a run that starts at the given time.
func New(start time.Time) *Timeline { return &Timeline{start: start} }

// Begin ends the current phase, if there is one, and begins the next one.
func (t *Timeline) Begin(name string, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.endLocked(at)
	t.phases = append(t.phases, &phase{name: name, start: at, end: at, width: firstWidth})
	t.open = true
}

// End ends the current phase. Operations that complete before the next phase begins are
// not recorded.
func (t *Timeline) End(at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.endLocked(at)
}

func (t *Timeline) endLocked(at time.Time) {
	if t.open {
		t.phases[len(t.phases)-1].end = at
		t.open = false
	}
}

// Put records that a put completed at the given time.
func (t *Timeline) Put(latency time.Duration, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.slotLocked(at); s != nil {
		if s.puts == nil {
			s.puts = &histogram.Histogram{}
		}
		s.puts.Record(latency)
	}
}

// Work records that n operations completed at the given time.
func (t *Timeline) Work(n uint64, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.slotLocked(at); s != nil {
		s.work += n
	}
}

// slotLocked returns the slot of a time in the current phase, or nil between phases.
func (t *Timeline) slotLocked(at time.Time) *slot {
	if !t.open {
		return nil
	}
	p := t.phases[len(t.phases)-1]
	i := max(0, int(at.Sub(p.start)/p.width))
	for i >= maxSlots {
		p.coarsen()
		i = int(at.Sub(p.start) / p.width)
	}
	for len(p.slots) <= i {
		p.slots = append(p.slots, slot{})
	}
	return &p.slots[i]
}

// coarsen merges pairs of slots.
func (p *phase) coarsen() {
	half := p.slots[:0]
	for i := 0; i < len(p.slots); i += 2 {
		s := p.slots[i]
		if i+1 < len(p.slots) {
			s = s.merge(p.slots[i+1])
		}
		half = append(half, s)
	}
	clear(p.slots[len(half):])
	p.slots, p.width = half, 2*p.width
}

// merge returns the sum of two slots. It may use the histogram of the first one.
func (s slot) merge(other slot) slot {
	s.work += other.work
	switch {
	case other.puts == nil:
	case s.puts == nil:
		s.puts = other.puts
	default:
		s.puts.Merge(other.puts)
	}
	return s
}

// Recent returns the figures of the current phase over about the given time before now.
func (t *Timeline) Recent(length time.Duration, now time.Time) Window {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.open {
		return Window{}
	}
	p := t.phases[len(t.phases)-1]
	first := max(0, int(now.Add(-length).Sub(p.start)/p.width))
	return p.window(t.start, min(first, len(p.slots)), len(p.slots), now)
}

// Done returns the operations that have completed in the current phase.
func (t *Timeline) Done() (n uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open {
		for _, s := range t.phases[len(t.phases)-1].slots {
			n += s.work
		}
	}
	return n
}

// Phases returns all phases, each cut into at most n windows.
func (t *Timeline) Phases(n int) []Phase {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []Phase
	for _, p := range t.phases {
		all = append(all, p.cut(t.start, n))
	}
	return all
}
