package main

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"cairn/cmd/bench/histogram"
)

// errorTextsMax is the maximum number of different error texts: some contain a port or a time and
// never repeat.
const errorTextsMax = 20

// recorder counts the responses of one phase. One lock serves all clients: it is held for some 50
// ns per request, and a request costs 20 µs or more.
type recorder struct {
	start   time.Time
	observe func(latency time.Duration, at time.Time) // also called for each success; nil: none

	mu      sync.Mutex
	total   histogram.Histogram
	byKind  []histogram.Histogram
	seconds []second
	errors  map[string]uint64
	failed  uint64
	// last is when the last request completed, successfully or not.
	last time.Time
}

// second counts the responses in one second of the run.
type second struct {
	requests uint64
	slowest  time.Duration
}

func newRecorder(kinds int, start time.Time) *recorder {
	return &recorder{start: start, last: start, byKind: make([]histogram.Histogram, kinds), errors: map[string]uint64{}}
}

// success counts a request that succeeded at the given time after the given latency.
func (r *recorder) success(kind int, latency time.Duration, at time.Time) {
	if r.observe != nil {
		r.observe(latency, at)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total.Record(latency)
	r.byKind[kind].Record(latency)
	i := int(at.Sub(r.start) / time.Second)
	for len(r.seconds) <= i {
		r.seconds = append(r.seconds, second{})
	}
	s := &r.seconds[i]
	s.requests++
	s.slowest = max(s.slowest, latency)
	if at.After(r.last) {
		r.last = at
	}
}

// failure counts a failed request. Its latency is not recorded: a server that refuses fast is not
// fast.
func (r *recorder) failure(err error, at time.Time) {
	text := err.Error()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed++
	if _, known := r.errors[text]; !known && len(r.errors) >= errorTextsMax {
		text = "other errors"
	}
	r.errors[text]++
	if at.After(r.last) {
		r.last = at
	}
}

// progress returns the numbers of succeeded and failed requests so far.
func (r *recorder) progress() (succeeded, failed uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.total.Count(), r.failed
}

// worstSecond returns the whole second of the run with the fewest responses; among several, the one
// with the highest latency. A last, partial second is left out; it returns false for a run of less
// than a second.
func worstSecond(seconds []second, elapsed time.Duration) (index int, worst second, ok bool) {
	for i := range int(elapsed / time.Second) {
		var s second // a second without responses may lie beyond the slice
		if i < len(seconds) {
			s = seconds[i]
		}
		if !ok || s.requests < worst.requests || (s.requests == worst.requests && s.slowest > worst.slowest) {
			index, worst, ok = i, s, true
		}
	}
	return index, worst, ok
}

// errorCount is one error text and the number of its occurrences.
type errorCount struct {
	Text  string `json:"text"`
	Count uint64 `json:"count"`
}

// errorCounts returns the errors, the most frequent first.
func (r *recorder) errorCounts() []errorCount {
	r.mu.Lock()
	defer r.mu.Unlock()
	var counts []errorCount
	for text, n := range r.errors {
		counts = append(counts, errorCount{text, n})
	}
	slices.SortFunc(counts, func(a, b errorCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Text, b.Text))
	})
	return counts
}
