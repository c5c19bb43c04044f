package main

import "testing"

func TestCollectorPercent(t *testing.T) {
	for _, c := range []struct {
		live, scanned uint64 // MiB
		want          int
	}{
		{1, 1, 100}, // just started
		{24, 10, 100},
		{128, 20, 18},
		{200, 100, 50},
		{4096, 100, 10},
		{0, 0, 100},
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
	if got := p.percent(live, scanned, 10); got != collectorPercentMax {
		t.Errorf("after frequent collections: %d, want %d", got, collectorPercentMax)
	}
	for range 200 {
		p.percent(live, scanned, 0)
	}
	if got := p.percent(live, scanned, 0); got != collectorPercentMin || p.extra != 0 {
		t.Errorf("after a rest: %d with %d bytes extra, want %d with none", got, p.extra, collectorPercentMin)
	}
}
