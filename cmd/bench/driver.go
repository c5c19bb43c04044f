package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// errorPause delays a client whose request failed: otherwise a server that is down would cause a
// million errors a second, which hide the cause.
const errorPause = 10 * time.Millisecond

// errPatience is the cause when requests are cancelled because there was no response for too long.
var errPatience = errors.New("no response within the time of -patience")

// measure opens the workload, warms it up, runs it and returns the report. When ctx ends, the run
// stops early and the report covers the part so far.
func measure(ctx context.Context, kind workloadKind, s settings, bar *progress) (*report, error) {
	return measureThen(ctx, kind, s, bar, func(*report) {})
}

// measureThen is measure, and calls then with the report before it closes the workload.
func measureThen(ctx context.Context, kind workloadKind, s settings, bar *progress, then func(*report)) (*report, error) {
	keys, err := newKeyspace(s)
	if err != nil {
		return nil, err
	}
	if kind.finite && s.total == 0 && s.duration == 0 {
		s.total = kind.total(s)
	}
	if s.pid != 0 { // before the run, so that a mistyped pid is reported at once
		if _, err := sampleProcess(s.pid); err != nil {
			return nil, err
		}
	}
	w, err := kind.open(ctx, s, keys)
	if err != nil {
		return nil, err
	}
	defer w.close()
	clients := make([]request, s.clients)
	for i := range clients {
		clients[i] = w.client(i)
	}
	p := phase{clients: clients, kinds: len(w.kinds()), rate: s.rate, patience: s.patience}

	if s.warmup > 0 {
		p.duration = s.warmup
		warm := p.run(ctx, bar.phase("warm-up", p))
		if succeeded, failed := warm.progress(); succeeded == 0 && failed > 0 {
			bar.done()
			return nil, fmt.Errorf("warm-up: all %d requests ended in errors, such as: %s", failed, warm.errorCounts()[0].Text)
		}
	}
	p.duration, p.total = s.duration, uint64(s.total)
	before, err := sampleBoth(s.pid)
	if err != nil {
		return nil, err
	}
	rec := p.run(ctx, bar.phase(measuring, p))
	bar.done()
	after, err := sampleBoth(s.pid)
	if err != nil {
		return nil, fmt.Errorf("after %d requests: %w", rec.total.Count(), err)
	}
	r := newReport(kind, s, w.kinds(), rec, before, after)
	if w, ok := w.(counting); ok {
		r.Received = w.counters()
	}
	then(r)
	return r, nil
}

// phase is one stretch of load: the warm-up or the measured part.
type phase struct {
	clients  []request
	kinds    int
	total    uint64        // requests; 0: no limit
	duration time.Duration // 0: no limit
	rate     float64       // per second over all clients; 0: no limit
	patience time.Duration
}

// flight is the shared state of the clients of a running phase.
type flight struct {
	phase
	rec      *recorder
	start    time.Time
	stop     <-chan struct{} // closed: start no new requests
	tickets  atomic.Uint64
	inFlight atomic.Int64
}

// run drives all clients until the total or the duration is reached or ctx ends, waits for requests
// in flight, and returns the recorder. show is called with the recorder while it runs.
func (p phase) run(ctx context.Context, show func(*recorder) (stop func())) *recorder {
	start := time.Now()
	f := &flight{phase: p, rec: newRecorder(p.kinds, start), start: start, stop: ctx.Done()}
	hide := show(f.rec)
	defer hide()

	// Requests have a separate context: the end of ctx stops new requests, and only the timeout of
	// -patience cancels those in flight. It has no deadline, which each request would have to send
	// to the server.
	requests, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		f.watch(requests, cancel)
	}()
	var clients sync.WaitGroup
	for _, do := range p.clients {
		clients.Go(func() { f.runClient(requests, do) })
	}
	clients.Wait()
	cancel(nil)
	<-watched
	return f.rec
}

// runClient sends one client's requests, one after another.
func (f *flight) runClient(ctx context.Context, do request) {
	for {
		ticket := f.tickets.Add(1) - 1
		if f.total > 0 && ticket >= f.total {
			return
		}
		begin := time.Now()
		if f.rate > 0 {
			// Latency counts from when the request was due, not from when a client was free to send
			// it. Otherwise a stalled server would delay the very requests that would have shown
			// the stall (coordinated omission).
			due := f.start.Add(time.Duration(float64(ticket) / f.rate * float64(time.Second)))
			if f.duration > 0 && due.Sub(f.start) >= f.duration {
				return
			}
			if !f.pause(ctx, due.Sub(begin)) {
				return
			}
			begin = due
		}
		select {
		case <-f.stop:
			return
		case <-ctx.Done():
			return
		default:
		}
		if f.duration > 0 && begin.Sub(f.start) >= f.duration {
			return
		}
		f.inFlight.Add(1)
		kind, err := do(ctx, ticket)
		f.inFlight.Add(-1)
		end := time.Now()
		if err == nil {
			f.rec.success(kind, end.Sub(begin), end)
			continue
		}
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		f.rec.failure(err, end)
		if !f.pause(ctx, errorPause) {
			return
		}
	}
}

// pause waits for d and returns true, or false as soon as the run must stop.
func (f *flight) pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-f.stop:
		return false
	case <-ctx.Done():
		return false
	}
}

// watch cancels the requests in flight when none has completed within the patience, so that a
// server that hangs ends the run with errors instead of hanging the run.
func (f *flight) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	var seen uint64
	since := time.Now()
	ticker := time.NewTicker(min(f.patience, time.Second) / 4)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			succeeded, failed := f.rec.progress()
			if succeeded+failed != seen || f.inFlight.Load() == 0 {
				seen, since = succeeded+failed, now
			} else if now.Sub(since) >= f.patience {
				cancel(errPatience)
				return
			}
		}
	}
}
