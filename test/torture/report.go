package main

import (
	"fmt"
	"io"
	"time"
)

// report sums up a run.
type report struct {
	began  time.Time
	faults map[string]*trouble

	bouts, requests, placed, watches, events int
	known, revisions                         int64
	violations                               int
}

// trouble sums up the effects of one kind of fault.
type trouble struct {
	times, skipped int
	worst, sum     time.Duration
}

func newReport() *report { return &report{began: time.Now(), faults: map[string]*trouble{}} }

func (r *report) of(name string) *trouble {
	if r.faults[name] == nil {
		r.faults[name] = &trouble{}
	}
	return r.faults[name]
}

func (r *report) fault(name string, worst, sum time.Duration) {
	t := r.of(name)
	t.times++
	t.worst, t.sum = max(t.worst, worst), t.sum+sum
}

func (r *report) skipped(name string) { r.of(name).skipped++ }

func (r *report) judged(b *bout, requests, placed, watches, events int, revision int64) {
	r.bouts++
	r.requests += requests
	r.known += b.rec.done.Load()
	r.placed += placed
	r.watches += watches
	r.events += events
	r.revisions += revision
	r.violations += len(b.failed)
}

func (r *report) print(out io.Writer) {
	fmt.Fprintf(out, "\n| fault | times | longest without service | in all |\n|---|---|---|---|\n")
	times, sum := 0, time.Duration(0)
	for _, f := range faults {
		t := r.faults[f.name]
		switch {
		case t == nil:
		case t.times == 0:
			fmt.Fprintf(out, "| %s | cannot be made here | | |\n", f.name)
		default:
			fmt.Fprintf(out, "| %s | %d | %.2f s | %.1f s |\n", f.name, t.times, t.worst.Seconds(), t.sum.Seconds())
			times, sum = times+t.times, sum+t.sum
		}
	}
	fmt.Fprintf(out, "\n%.1f minutes, %d clusters, %d faults, %.1f s without service\n", time.Since(r.began).Minutes(), r.bouts, times, sum.Seconds())
	fmt.Fprintf(out, "%d requests, %d of them with a known outcome, over %d revisions; %d watches that received %d events\n",
		r.requests, r.known, r.revisions, r.watches, r.events)
	fmt.Fprintf(out, "%d histories checked, %d requests given their place in the order; %d violations\n", r.bouts, r.placed, r.violations)
}
