package member

import (
	"testing"
	"time"

	"cairn/internal/watch"
)

// As many streams are woken together as take crowdTurn, by steps of a factor of two.
func TestNextAwake(t *testing.T) {
	for _, c := range []struct {
		n    int
		took time.Duration
		want int
	}{
		{watch.AwakeMax, crowdTurn, watch.AwakeMax},
		{watch.AwakeMax, 0, watch.AwakeMax},
		{watch.AwakeMax, time.Second, watch.AwakeMax / 2}, // once: the machine was busy
		{64, 2 * crowdTurn, 32},
		{64, crowdTurn * 4 / 3, 48},
		{64, crowdTurn / 10, 128},
		{awakeMin, time.Second, awakeMin},
		{awakeMin, crowdTurn / 2, 2 * awakeMin},
	} {
		if got := nextAwake(c.n, c.took); got != c.want {
			t.Errorf("after %d streams took %v: %d, want %d", c.n, c.took, got, c.want)
		}
	}
}
