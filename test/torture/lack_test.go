package main

import (
	"testing"
	"time"
)

// TestLack tests when a cluster that does not recover counts as one without processors: only while
// its threads waited for one for as long as they ran.
func TestLack(t *testing.T) {
	parse := func(text string) schedule {
		s, ok := parseSchedule(text)
		if !ok {
			t.Fatalf("%q is not taken for a schedule", text)
		}
		return s
	}
	before := threadTimes{"1": parse("5000000000 1000000000 7"), "2": parse("0 0 0"), "ended": parse("9 9 9")}
	for _, c := range []struct {
		name   string
		now    threadTimes
		sum    schedule
		lacked bool
	}{
		{"stuck: neither runs nor waits", threadTimes{"1": before["1"], "2": before["2"]}, schedule{}, false},
		{"runs", threadTimes{"1": parse("8000000000 1500000000 9")}, schedule{3 * time.Second, time.Second / 2}, false},
		{"waits", threadTimes{"1": parse("6000000000 3000000000 9\n"), "3": parse("1000000000 0 1")}, schedule{2 * time.Second, 2 * time.Second}, true},
	} {
		sum := c.now.since(before)
		if sum != c.sum || sum.lacking() != c.lacked {
			t.Errorf("%s: got %+v, lacking %t; want %+v, %t", c.name, sum, sum.lacking(), c.sum, c.lacked)
		}
	}
	for _, text := range []string{"", "7", "a b c"} {
		if _, ok := parseSchedule(text); ok {
			t.Errorf("%q is taken for a schedule", text)
		}
	}
}
