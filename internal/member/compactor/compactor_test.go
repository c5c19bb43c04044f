package compactor

import (
	"testing"
	"time"
)

// TestWindow: look returns the revision of one period ago, not more often than the pace.
func TestWindow(t *testing.T) {
	const h, m = time.Hour, time.Minute
	type look struct {
		at       time.Duration
		revision int64
		want     int64
	}
	every6 := func(n int) (looks []look) { // one revision per minute
		for i := range n {
			looks = append(looks, look{at: time.Duration(i) * 6 * m, revision: int64(1 + 6*i)})
		}
		return looks
	}
	hourly := every6(31)
	hourly[10].want, hourly[20].want, hourly[30].want = 1, 61, 121
	for name, c := range map[string]struct {
		w     window
		looks []look
	}{
		"an hour":          {window{span: h, pace: h}, hourly},
		"a short time":     {window{span: h, pace: h}, []look{{0, 1, 0}, {59 * m, 5, 0}}},
		"one look is none": {window{span: h, pace: h}, []look{{2 * h, 7, 0}}},
		"ten hours, once an hour": {window{span: 10 * h, pace: h}, []look{
			{0, 1, 0}, {5 * h, 50, 0}, {10*h - 1, 99, 0}, {10 * h, 100, 1}, {10*h + 30*m, 105, 0}, {11 * h, 110, 1}, {15 * h, 150, 50}, {30 * h, 300, 150},
		}},
		"looks that come late": {window{span: 10 * m, pace: 10 * m}, []look{{0, 1, 0}, {5 * h, 50, 1}, {5*h + 9*m, 60, 0}, {5*h + 10*m, 61, 50}, {9 * h, 90, 61}}},
		"a second":             {window{span: time.Second, pace: time.Second}, []look{{0, 3, 0}, {500 * time.Millisecond, 4, 0}, {time.Second, 5, 3}, {1500 * time.Millisecond, 6, 0}, {2 * time.Second, 7, 5}}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, l := range c.looks {
				if got := c.w.next(l.at, l.revision); got != l.want {
					t.Errorf("at %v, revision %d: %d, want %d", l.at, l.revision, got, l.want)
				}
			}
			if len(c.w.seen) > 12 {
				t.Errorf("%d sightings are kept", len(c.w.seen))
			}
		})
	}
}
