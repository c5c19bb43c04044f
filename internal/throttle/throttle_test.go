package throttle

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestAllow(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	th := New(time.Minute, func() time.Time { return now })
	for _, step := range []struct {
		key     string
		after   time.Duration
		skipped int
		ok      bool
	}{
		{"a", 0, 0, true},
		{"a", 59 * time.Second, 0, false},
		{"b", 0, 0, true},
		{"a", 0, 0, false},
		{"a", time.Second, 2, true},
		{"a", 0, 0, false},
		{"a", time.Hour, 1, true},
		{"b", 0, 0, true},
	} {
		now = now.Add(step.after)
		if skipped, ok := th.allow(step.key); skipped != step.skipped || ok != step.ok {
			t.Errorf("%s at %s: %d, %v, want %d, %v", step.key, now, skipped, ok, step.skipped, step.ok)
		}
	}
}

// A warning has the number of those that were not logged before it.
func TestWarn(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	th := New(time.Minute, func() time.Time { return now })
	var out strings.Builder
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	for i := range 3 {
		th.Warn(log, "a", "text", "number", i)
	}
	now = now.Add(time.Minute)
	th.Warn(log, "a", "text", "number", 3)
	if want := "level=WARN msg=text number=0\nlevel=WARN msg=text number=3 not_logged=2\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestKeysAreBounded(t *testing.T) {
	th := New(time.Hour, time.Now)
	for i := range 3 * keysMax {
		if _, ok := th.allow(fmt.Sprint(i)); !ok {
			t.Fatalf("the first event of %d is not allowed", i)
		}
		if len(th.keys) > keysMax {
			t.Fatalf("%d keys are remembered", len(th.keys))
		}
	}
}
