package member

import (
	"time"

	"cairn/internal/watch"
)

const (
	// crowdPause is how long no stream of watches is woken when the hub is crowded, and those woken
	// before have taken their events. Meanwhile the processors have nothing to do, and so the
	// runtime looks for requests that have arrived, which it does not do at once while there are
	// goroutines to run.
	crowdPause = 100 * time.Microsecond
	// crowdTurn is how long the streams that are woken together may take: a request waits that
	// long behind them.
	crowdTurn = 500 * time.Microsecond
	// awakeMin is how many streams are woken together at least.
	awakeMin = 8
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
	crowded, awake := false, watch.AwakeMax
	var groups int          // that were woken
	var woken time.Duration // when the last group was
	for {
		select {
		case <-m.hub.Wake():
			came := m.now()
			if crowded {
				time.Sleep(crowdPause)
			}
			m.hub.Dispatch()
			if n := m.hub.Groups(); n != groups {
				if crowded {
					awake = nextAwake(awake, came-woken)
					m.hub.SetAwakeMax(awake)
				}
				groups, woken = n, m.now()
			}
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

// nextAwake returns how many streams to wake together after n of them took some time: so many that
// they take crowdTurn. It changes by a factor of two at most, since a machine that is busy with
// something else makes one group late.
func nextAwake(n int, took time.Duration) int {
	next := 2 * n
	if took > 0 {
		next = min(next, max(n/2, int(int64(n)*int64(crowdTurn)/int64(took))))
	}
	return min(watch.AwakeMax, max(awakeMin, next))
}
