package main

import "testing"

func TestCollectorPercent(t *testing.T) {
	for _, c := range []struct {
		live, scanned uint64 // MiB
		want          int
	}{
		{1, 1, 800},  // just started
		{17, 5, 141}, // without load
		{24, 10, 100},
		{128, 20, 18},
		{200, 100, 50},
		{4096, 100, 10},
		{0, 0, 800},
	} {
		if got := new(collectorPace).percent(c.live<<20, c.scanned<<20, 2); got != c.want {
			t.Errorf("%d MiB live, %d MiB scanned: %d, want %d", c.live, c.scanned, got, c.want)
		}
	}
}

// While collections are frequent the heap may grow by more, up to twice what is live; afterwards
// the headroom shrinks again.
func TestCollectorPaceFollowsCollections(t *testing.T) {
	var p collectorPace
	const live, scanned = 300 << 20, 20 << 20
	if got := p.percent(live, scanned, collectionsMax); got != 8 && got != collectorPercentMin {
		t.Errorf("at rest: %d", got)
	}
	for range 20 {
		p.percent(live, scanned, 10)
	}
	if got := p.percent(live, scanned, 10); got != 108 {
		t.Errorf("after frequent collections: %d, want 108", got)
	}
	for range 200 {
		p.percent(live, scanned, 0)
	}
	if got := p.percent(live, scanned, 0); got != collectorPercentMin || p.extra != 0 {
		t.Errorf("after a rest: %d with %d bytes extra, want %d with none", got, p.extra, collectorPercentMin)
	}
}

// TestCollectorPaceOfSmallHeaps: two collections a second are enough for a small heap to get all of
// the spare headroom; it keeps it while there is one now and then, and gives it back afterwards.
func TestCollectorPaceOfSmallHeaps(t *testing.T) {
	p := collectorPace{spare: spareOf(0)}
	const live, scanned = 17 << 20, 5 << 20
	for range 20 {
		p.percent(live, scanned, 1)
	}
	if p.extra != spareMax {
		t.Errorf("two collections a second: %d bytes extra, want %d", p.extra, spareMax)
	}
	for i := range 20 {
		p.percent(live, scanned, uint64(i%2))
	}
	if got := p.percent(live, scanned, 0); got != 423 || p.extra != spareMax {
		t.Errorf("one a second: %d with %d bytes extra, want 423 with %d", got, p.extra, spareMax)
	}
	for range 200 {
		p.percent(live, scanned, 0)
	}
	if p.extra != 0 {
		t.Errorf("after a rest: %d bytes extra", p.extra)
	}
	for limit, want := range map[int64]uint64{0: spareMax, 256 << 20: 16 << 20, 64 << 30: spareMax} {
		if got := spareOf(limit); got != want {
			t.Errorf("of %d bytes: %d, want %d", limit, got, want)
		}
	}
}
