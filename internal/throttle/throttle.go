// Package throttle limits how often a warning is logged for each key, such as one line for each
// client and minute.
//
// It owns the count of the warnings that were not logged. It does not own their texts.
//
// Invariant: a Throttle remembers at most keysMax keys (TestKeysAreBounded).
//
// Concurrency: a Throttle may be used by any number of goroutines.
package throttle

import (
	"log/slog"
	"sync"
	"time"
)

// keysMax is the number of keys that are remembered; when it is reached, all are dropped.
const keysMax = 4096

// Throttle allows one event for each key in an interval.
type Throttle struct {
	interval time.Duration
	now      func() time.Time

	mu   sync.Mutex
	keys map[string]*state
}

// state is of a key.
type state struct {
	allowed time.Time // the last time
	skipped int       // events since then
}

// New returns a Throttle with a clock.
func New(interval time.Duration, now func() time.Time) *Throttle {
	return &Throttle{interval: interval, now: now, keys: map[string]*state{}}
}

// Warn logs a warning if the event of a key is allowed. The line has the number of those that were
// not logged since the last one.
func (t *Throttle) Warn(log *slog.Logger, key, message string, attrs ...any) {
	skipped, ok := t.allow(key)
	if !ok {
		return
	}
	if skipped > 0 {
		attrs = append(attrs, "not_logged", skipped)
	}
	log.Warn(message, attrs...)
}

// allow reports whether the event of a key is allowed, and how many of that key were not since the
// last one that was.
func (t *Throttle) allow(key string) (skipped int, ok bool) {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.keys[key]
	switch {
	case s == nil:
		if len(t.keys) >= keysMax {
			clear(t.keys)
		}
		s = new(state)
		t.keys[key] = s
	case now.Sub(s.allowed) < t.interval:
		s.skipped++
		return 0, false
	}
	skipped = s.skipped
	*s = state{allowed: now}
	return skipped, true
}
