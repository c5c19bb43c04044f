package grpcproxy

import (
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

const (
	// pacePerWatcher is the pause after a delivery for each watcher that got it. A response costs
	// proxy and client about 2.6 µs, a further event in a response a third of that: so the
	// responses to a group take about a quarter of a processor at most, and under a fast writer the
	// watchers get more events per second than without a pause (ADR 0026).
	pacePerWatcher = 10 * time.Microsecond
	// The pause of a small group would cost more than it saves. That of a large one is at most the
	// time after which an etcd sends to watchers that are behind.
	paceMin = time.Millisecond
	paceMax = 100 * time.Millisecond
)

// paceOf returns the pause after a delivery to a number of watchers.
func paceOf(watchers int) time.Duration {
	pause := min(time.Duration(watchers)*pacePerWatcher, paceMax)
	if pause < paceMin {
		return 0
	}
	return pause
}

// flow has the events that are held back during the pause after a delivery: they are delivered
// together.
type flow struct {
	mu    sync.Mutex // guards the fields below; held while events are delivered
	held  *batch
	due   time.Time // the end of the pause
	pause *time.Timer
}

// Events implements clusterwatch.Handler.
func (g *group) Events(h *pb.ResponseHeader, events []*mvccpb.Event) {
	g.s.w.p.stripEvents(events)
	f := &g.flow
	f.mu.Lock()
	defer f.mu.Unlock()
	first := f.held == nil
	f.held = f.held.join(h, events)
	switch {
	case f.due.IsZero() || time.Now().After(f.due) || f.held.size() > joinedBytesMax:
		f.flushLocked(g)
	case first:
		f.pause = time.AfterFunc(time.Until(f.due), func() { f.flush(g) })
	}
}

// flush delivers the events that are held back.
func (f *flow) flush(g *group) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flushLocked(g)
}

func (f *flow) flushLocked(g *group) {
	if f.pause != nil {
		f.pause.Stop()
		f.pause = nil
	}
	if f.held == nil {
		return
	}
	b := f.held
	f.held, f.due = nil, time.Time{}
	if d := paceOf(g.deliver(b)); d > 0 {
		f.due = time.Now().Add(d)
	}
}
