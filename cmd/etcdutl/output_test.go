package main

import (
	"testing"
	"time"
)

func TestProgressText(t *testing.T) {
	for _, c := range []struct {
		changes int64
		part    float64
		took    time.Duration
		want    string
	}{
		{4096, 0, 2 * time.Second, "4096 changes, 2048 per second"},
		{4096, 0.25, 2 * time.Second, "25 %, 4096 changes, 2048 per second, 6s left"},
		{1_000_000, 0.1, time.Minute, "10 %, 1000000 changes, 16667 per second, 9m0s left"},
		{4096, 1.2, 2 * time.Second, "100 %, 4096 changes, 2048 per second, 0s left"},
	} {
		if got := progressText(c.changes, c.part, c.took); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
