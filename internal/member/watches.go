package member

import "time"

const (
	// crowdPause is how long no stream of watches is woken when the hub is crowded, and those woken
	// before have taken their events. Meanwhile the processors have nothing to do, and so the
	// runtime looks for requests that have arrived, which it does not do at once while there are
	// goroutines to run.
	crowdPause = 100 * time.Microsecond
	// crowdStalls is after how long the streams that were woken are no longer waited for.
	crowdStalls = 10 * time.Millisecond
)

// runWatches delivers published events to the watchers, so that the applier does not depend on
// their number.
func (h host) runWatches() {
	m := h.m
	defer m.wg.Done()
	stalled := time.NewTimer(time.Hour)
	defer stalled.Stop()
	crowded := false
	for {
		select {
		case <-m.hub.Wake():
			if crowded {
				time.Sleep(crowdPause)
			}
			m.hub.Dispatch()
		case <-stalled.C:
			m.hub.WakeStalled()
		case <-m.stopping:
			return
		case <-m.failed:
			return
		}
		if crowded = m.hub.Crowded(); crowded {
			stalled.Reset(crowdStalls)
		} else {
			stalled.Stop()
		}
	}
}
