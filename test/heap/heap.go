// Package heap measures the live heap, for tests of what the Memory table of docs/architecture.md
// promises.
package heap

import (
	"math"
	"runtime"
	"testing"
	"time"
)

// Live returns the bytes of live objects: the least after several collections, since what is
// allocated while one runs counts as live, and pebble's cache needs two of them to free a block
// when the race detector is on.
func Live() int64 {
	least := int64(math.MaxInt64)
	for range 5 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		least = min(least, int64(m.HeapAlloc))
	}
	return least
}

// releaseMax is how long Within waits for goroutines that end, and release memory then.
const releaseMax = 30 * time.Second

// Within fails the test when the live heap has grown since before by more than most bytes. The
// memory to be measured must stay in use meanwhile: on a busy machine, goroutines that are ending
// may still hold memory of their own.
func Within(t testing.TB, what string, before, most int64) {
	t.Helper()
	grown := Live() - before
	for end := time.Now().Add(releaseMax); grown > most && time.Now().Before(end); grown = Live() - before {
		time.Sleep(50 * time.Millisecond)
	}
	if grown > most {
		t.Errorf("%s: the heap has grown by %d KiB, want at most %d KiB", what, grown>>10, most>>10)
	} else {
		t.Logf("%s: the heap has grown by %d of %d KiB", what, grown>>10, most>>10)
	}
}
