package budget

import (
	"testing"
	"time"
)

// A client must keep the minimum rate on average; a pause may use up the time that a faster start
// has saved.
func TestPace(t *testing.T) {
	const rate = 1000
	for name, c := range map[string]struct {
		moved Pace
		want  time.Duration
	}{
		"at first":              {Pace{}, time.Minute},
		"one byte in a minute":  {Pace{time.Minute, 1}, time.Millisecond},
		"nothing in 59 s":       {Pace{59 * time.Second, 0}, time.Second},
		"at the rate":           {Pace{time.Hour, 3600 * rate}, time.Minute},
		"below the rate":        {Pace{time.Hour, 3570 * rate}, 30 * time.Second},
		"far below, late found": {Pace{time.Hour, 10}, time.Nanosecond},
	} {
		if got := c.moved.Limit(time.Minute, rate); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if got := (&Pace{time.Hour, 0}).Limit(0, rate); got != 0 {
		t.Errorf("without a limit: %v", got)
	}
}
