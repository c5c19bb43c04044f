package watch

import "sync/atomic"

const (
	// SliceBytes is how many bytes of events a consumer takes memory for at least before it takes
	// them: a client that does not read holds no more.
	SliceBytes = 32 << 10
	// expectedMax is the size up to which the next revision is expected to be as large as the last
	// large one was.
	expectedMax = 1 << 20
)

// Expectation is what consumers expect a single revision to take, since all events of a revision
// are taken together. Its zero value is ready for use, by any number of goroutines.
type Expectation struct{ bytes atomic.Int64 }

// Least returns for how many bytes of events a consumer takes memory at least.
func (e *Expectation) Least() int64 { return max(SliceBytes, e.bytes.Load()) }

// Note notes how many bytes were taken with memory for a slice. A single revision may have more
// than that, and the next ones are expected to be as large; that is forgotten slowly.
func (e *Expectation) Note(taken, slice int64) {
	switch expected := e.bytes.Load(); {
	case taken > slice:
		e.bytes.Store(min(taken, expectedMax))
	case expected > SliceBytes && taken < expected/2:
		e.bytes.Store(expected - expected/16)
	}
}
