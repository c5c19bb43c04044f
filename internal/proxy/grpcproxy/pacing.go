package grpcproxy

import (
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
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

// follow delivers what the watch of the cluster reports, until it ends, and returns its last
// response. Events that come during the pause after a delivery are delivered together.
func (g *group) follow(updates clientv3.WatchChan) (last clientv3.WatchResponse) {
	var held *batch
	var due time.Time // the end of the pause
	pause := time.NewTimer(0)
	defer pause.Stop()
	deliver := func() {
		if held == nil {
			return
		}
		if d := paceOf(g.deliver(held)); d > 0 {
			due = time.Now().Add(d)
		}
		held = nil
	}
	for {
		select {
		case r, ok := <-updates:
			if !ok || r.Err() != nil {
				deliver()
				return r
			}
			switch {
			case r.IsProgressNotify():
				deliver()
				g.progress(&r)
			case len(r.Events) > 0:
				first := held == nil
				held = held.join(&r)
				switch wait := time.Until(due); {
				case wait <= 0 || held.size() > joinedBytesMax:
					deliver()
				case first:
					pause.Reset(wait)
				}
			}
		case <-pause.C:
			deliver()
		}
	}
}
