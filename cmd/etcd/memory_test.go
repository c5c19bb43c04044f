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
		if got := collectorPercent(c.live<<20, c.scanned<<20); got != c.want {
			t.Errorf("%d MiB live, %d MiB scanned: %d, want %d", c.live, c.scanned, got, c.want)
		}
	}
}
