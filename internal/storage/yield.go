package storage

import (
	"runtime"

	"github.com/cockroachdb/pebble/v2"
)

// yieldKeys is how many keys a table writer adds before it lets other goroutines run: some 0.1 ms
// of a flush or compaction.
const yieldKeys = 64

// yieldingFilter is a filter policy whose writers let other goroutines run after each yieldKeys
// keys. Pebble calls a filter's writer for each key of a table, on the goroutine that merges and
// compresses. Otherwise flushes and compactions keep their processors until Go's scheduler preempts
// them after 10 ms, and every step of a request waits that long. The filters are those of the
// policy inside.
type yieldingFilter struct{ pebble.FilterPolicy }

// NewWriter implements pebble.FilterPolicy.
func (f yieldingFilter) NewWriter(kind pebble.FilterType) pebble.FilterWriter {
	return &yieldingFilterWriter{FilterWriter: f.FilterPolicy.NewWriter(kind)}
}

type yieldingFilterWriter struct {
	pebble.FilterWriter
	keys int
}

// AddKey implements pebble.FilterWriter.
func (w *yieldingFilterWriter) AddKey(key []byte) {
	w.FilterWriter.AddKey(key)
	if w.keys++; w.keys%yieldKeys == 0 {
		runtime.Gosched()
	}
}
