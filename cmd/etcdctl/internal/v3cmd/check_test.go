package v3cmd

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestLoadKeepsItsRate(t *testing.T) {
	l := load{rate: 200, clients: 4, lasts: 500 * time.Millisecond}
	var writes atomic.Int64
	r := l.run(t.Context(), func(context.Context) error { writes.Add(1); return nil })
	if n := int64(len(r.took)); n != writes.Load() || n == 0 || n > 100 {
		t.Errorf("%d writes are reported, %d were made, at most 100 were due", n, writes.Load())
	}
}

func TestReport(t *testing.T) {
	l := load{rate: 100}
	steady := make([]time.Duration, 100)
	for i := range steady {
		steady[i] = 10 * time.Millisecond
	}
	slow := append([]time.Duration{600 * time.Millisecond}, steady[1:]...)
	uneven := append([]time.Duration(nil), steady...)
	for i := range 50 {
		uneven[i] = 400 * time.Millisecond
	}
	for name, c := range map[string]struct {
		r    report
		good bool
		want string
	}{
		"good":        {report{took: steady, total: time.Second}, true, "PASS: Throughput is 100 writes/s\nPASS: Slowest request took 0.010000s\nPASS: Stddev is 0.000000s\nPASS\n"},
		"too few":     {report{took: steady[:80], total: time.Second}, false, "FAIL: Throughput too low: 80 writes/s\n"},
		"too slow":    {report{took: slow, total: time.Second}, false, "FAIL: Slowest request took too long: 0.600000s\n"},
		"uneven":      {report{took: uneven, total: time.Second}, false, "FAIL: Stddev too high: 0.195000s\n"},
		"an error":    {report{took: steady, total: time.Second, fault: errors.New("no space")}, false, "FAIL: Errors: no space\n"},
		"no response": {report{total: time.Second, fault: errors.New("no leader")}, false, "FAIL: Throughput too low: 0 writes/s\nFAIL\n"},
	} {
		var out bytes.Buffer
		if good := c.r.print(&out, l); good != c.good || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s: %t\n%s", name, good, out.String())
		}
	}
}

func TestFillStopsAtAnError(t *testing.T) {
	full := errors.New("no space")
	var writes atomic.Int64
	err := load{keys: 1000, clients: 3}.fill(t.Context(), func(context.Context) error {
		if writes.Add(1) > 10 {
			return full
		}
		return nil
	})
	if !errors.Is(err, full) || writes.Load() > 14 {
		t.Errorf("%v after %d writes", err, writes.Load())
	}
	writes.Store(0)
	if err := (load{keys: 1000, clients: 3}).fill(t.Context(), func(context.Context) error { writes.Add(1); return nil }); err != nil || writes.Load() != 1000 {
		t.Errorf("%v after %d writes", err, writes.Load())
	}
}

// TestHelpHasExamples wants a sentence and an example of each command.
func TestHelpHasExamples(t *testing.T) {
	for _, c := range Commands() {
		if c.Short == "" {
			t.Errorf("%s says nothing of itself", c.Path)
		}
		if c.Run != nil && !strings.Contains(c.Example, "$ ") {
			t.Errorf("%s has no example", c.Path)
		}
		if c.Run != nil && !strings.Contains(c.Example, "etcdctl") {
			t.Errorf("the example of %s does not run it: %s", c.Path, c.Example)
		}
	}
}
