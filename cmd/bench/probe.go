package main

import (
	"context"
	"fmt"
	"time"

	"cairn/cmd/bench/timeline"
)

// probe puts single keys at a constant rate, beside other work, and records each put's latency in a
// timeline. A latency counts from when the put was due, so that a stall of the server is seen in
// full.
type probe struct {
	stop  context.CancelFunc
	ended chan struct{}
	err   error // once ended
}

// startProbe begins to put. The settings have the rate, the clients and the key space.
func startProbe(ctx context.Context, s settings, line *timeline.Timeline) (*probe, error) {
	keys, err := newKeyspace(s)
	if err != nil {
		return nil, err
	}
	w, err := putKind.open(ctx, s, keys)
	if err != nil {
		return nil, err
	}
	load := phase{kinds: len(w.kinds()), rate: s.rate, patience: s.patience}
	for i := range s.clients {
		load.clients = append(load.clients, w.client(i))
	}
	ctx, stop := context.WithCancel(ctx)
	p := &probe{stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		defer w.close()
		rec := load.run(ctx, func(rec *recorder) func() {
			rec.observe = func(latency time.Duration, at time.Time) { line.Put(latency, at) }
			return func() {}
		})
		if succeeded, failed := rec.progress(); failed > 0 {
			p.err = fmt.Errorf("puts: %d of %d ended in errors, such as: %s", failed, failed+succeeded, rec.errorCounts()[0].Text)
		}
	}()
	return p, nil
}

// end stops the puts, waits for those in flight, and returns an error if a put has failed.
func (p *probe) end() error {
	p.stop()
	<-p.ended
	return p.err
}
