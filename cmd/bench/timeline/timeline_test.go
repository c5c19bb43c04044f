package timeline

import (
	"math"
	"testing"
	"time"
)

var start = time.Unix(1_800_000_000, 0)

func at(seconds float64) time.Time {
	return start.Add(time.Duration(seconds * float64(time.Second)))
}

// The windows of a phase cover it without gaps, and each put is in the window in which it
// completed.
func TestWindows(t *testing.T) {
	line := New(start)
	line.Put(time.Hour, at(0)) // before any phase: not recorded
	line.Begin("rest", at(1))
	line.Put(time.Millisecond, at(1.5))
	line.Begin("load", at(2))
	for i := range 300 {
		latency := time.Millisecond
		if i >= 200 {
			latency = 10 * time.Millisecond
		}
		line.Put(latency, at(2+float64(i)/100))
		line.Work(2, at(2+float64(i)/100))
	}
	line.End(at(5))
	line.Work(1000, at(5))

	phases := line.Phases(3)
	if len(phases) != 2 || phases[0].Name != "rest" || phases[0].Whole.Puts != 1 || phases[0].Whole.Seconds != 1 {
		t.Fatalf("phases %+v", phases)
	}
	load := phases[1]
	if load.Whole.Work != 600 || math.Abs(load.Whole.Rate()-200) > 1e-9 || load.Whole.Start != 2 {
		t.Errorf("whole phase %+v, want 600 operations, 200 a second, from second 2", load.Whole)
	}
	if len(load.Windows) != 3 {
		t.Fatalf("%d windows, want 3", len(load.Windows))
	}
	for i, w := range load.Windows {
		want := []float64{1000, 1000, 10_000}[i]
		if w.Puts != 100 || w.Work != 200 || math.Abs(w.P99-want) > want/50 || math.Abs(w.Start-float64(2+i)) > 1e-9 || math.Abs(w.Seconds-1) > 1e-9 {
			t.Errorf("window %d: %+v, want 100 puts with a p99 of %v µs", i, w, want)
		}
	}
}

func TestLongPhaseKeepsItsCounts(t *testing.T) {
	line := New(start)
	line.Begin("long", at(0))
	const n = 40_000
	for i := range n {
		line.Put(time.Millisecond, at(float64(i)/10))
		line.Work(1, at(float64(i)/10))
	}
	line.End(at(n / 10))
	p := line.phases[0]
	if len(p.slots) > maxSlots {
		t.Errorf("%d slots, want at most %d", len(p.slots), maxSlots)
	}
	phase := line.Phases(30)[0]
	if len(phase.Windows) != 30 || phase.Whole.Puts != n {
		t.Fatalf("%d windows with %d puts, want 30 with %d", len(phase.Windows), phase.Whole.Puts, n)
	}
	var puts, work uint64
	seconds := 0.0
	for i, w := range phase.Windows {
		puts, work, seconds = puts+w.Puts, work+w.Work, seconds+w.Seconds
		if w.Rate() < 8 || w.Rate() > 12 {
			t.Errorf("window %d: %v operations a second, want 10", i, w.Rate())
		}
	}
	if puts != n || work != n || math.Abs(seconds-n/10) > 1e-6 {
		t.Errorf("windows have %d puts and %d operations in %v s, want %d in %d s", puts, work, seconds, n, n/10)
	}
}

// A stall is a window without puts, and not a shorter phase.
func TestStallIsAWindow(t *testing.T) {
	line := New(start)
	line.Begin("stall", at(0))
	line.Put(time.Millisecond, at(0.05))
	line.Put(5*time.Second, at(5.05))
	line.End(at(5.1))
	phase := line.Phases(5)[0]
	if len(phase.Windows) != 5 {
		t.Fatalf("%d windows, want 5", len(phase.Windows))
	}
	if w := phase.Windows[2]; w.Puts != 0 || w.P99 != 0 || w.Seconds < 0.9 {
		t.Errorf("window in the stall: %+v", w)
	}
	if w := phase.Windows[4]; w.Puts != 1 || w.Max != 5e6 {
		t.Errorf("last window: %+v, want the put of 5 s", w)
	}
}

func TestRecent(t *testing.T) {
	line := New(start)
	if w := line.Recent(time.Second, at(0)); w != (Window{}) {
		t.Errorf("before the first phase: %+v", w)
	}
	line.Begin("load", at(0))
	for i := range 100 {
		line.Work(1, at(float64(i)/10))
	}
	if w := line.Recent(2*time.Second, at(10)); w.Work < 19 || w.Work > 21 {
		t.Errorf("%d operations in the last 2 s, want 20", w.Work)
	}
}
