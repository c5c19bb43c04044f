package member

import (
	"runtime"
	"time"
)

// The three roles of the replica are locks, not threads. Each has a goroutine that waits for its
// work, but a goroutine that has created work for a role, and finds the role free, does the work
// itself. So a lone request is packed by its own goroutine, and synced, applied and completed by
// the log writer's: two wake-ups. Under load the roles are busy, the work accumulates in their
// queues, and their goroutines process it batch by batch. See docs/adr/0003.
//
// A request's own goroutine never accesses the disk: its context must end its wait when the disk
// hangs. No goroutine waits for a role while it holds another one, except the log writer, which
// waits for the applier to install a snapshot.

// advance processes a request that has just been added to the inbox, as far as is possible without
// the disk.
func (m *Member) advance() {
	if m.readable.Load() && m.appendsUnderWay.Load() >= appendsUnderWayMax {
		return // the log writer takes the accumulated requests when its append is done
	}
	if m.inbox.backlog.requests.Load() > 1 {
		// Let other goroutines run first: requests that they are about to add will share this one's
		// entry. This and the yield in logRole.round save a fifth of the fsyncs with 1,000 clients
		// (104 requests share one instead of 84), at the same throughput (17,300 and 16,500 puts/s,
		// where runs of one binary differ by 15 %). To wake the raft loop through its channel, or
		// to have the log writer wait for as many requests as it has answered, gave the same
		// throughput. See docs/adr/0003.
		runtime.Gosched()
	}
	m.raft.try()
	m.passOn()
}

// try applies waiting entries on the caller's goroutine, if there are any and the role is free.
// Otherwise the applier's goroutine applies them. Only goroutines of roles call it.
func (r *applyRole) try() {
	m := r.m
	if m.applies.idle() {
		return
	}
	tidy := false
	m.applier.tryDo(func() { tidy = m.applier.round() })
	if tidy || !m.applies.idle() {
		m.applies.signal()
	}
	if m.inbox.finished() {
		m.raft.try()
	}
}

// passOn wakes the goroutines that have work.
func (m *Member) passOn() {
	if !m.appends.idle() {
		m.appends.signal()
	}
	if !m.applies.idle() {
		m.applies.signal()
	}
}

// loop is the raft loop's goroutine.
func (r *raftRole) loop() {
	m := r.m
	defer m.wg.Done()
	ticker := time.NewTicker(m.cfg.TickInterval)
	defer ticker.Stop()
	m.raft.do(m.raft.campaign)
	for {
		m.passOn()
		select {
		case <-ticker.C:
			m.raft.do(m.raft.tick)
			m.turning.lastTick.Store(int64(m.now()))
		case <-m.inbox.wake:
		case <-m.stopping:
			return
		case <-m.failed:
			return
		}
		m.raft.do(m.raft.step)
	}
}

// loop is the log writer's goroutine.
func (r *logRole) loop() {
	m := r.m
	defer m.wg.Done()
	for {
		select {
		case <-m.appends.wake:
		case <-m.flushed:
			m.logs.do(m.logs.truncate)
			continue
		case <-m.stopping:
			return
		case <-m.failed:
			return
		}
		for r.round() {
		}
	}
}

// round does a round of the log writer's work, and passes on the resulting work. It reports whether
// there was any.
func (r *logRole) round() (more bool) {
	m := r.m
	appends := int32(0)
	m.logs.do(func() { more, appends = m.logs.step() })
	if !more {
		return false
	}
	if !m.readable.Load() {
		m.appendsUnderWay.Add(-appends)
		m.raft.try()
		m.passOn()
		return true
	}
	// Send the appended entries, and apply them here when no other append waits.
	m.raft.try()
	if m.inbox.backlog.requests.Load() <= 1 {
		m.applier.try()
	} else {
		m.passOn()
		// Let clients add requests before the next entry is made. In a larger cluster this is not
		// necessary: other members' disks take their time, too.
		runtime.Gosched()
	}
	m.appendsUnderWay.Add(-appends)
	m.raft.try()
	m.passOn()
	return true
}

// loop is the applier's goroutine.
func (r *applyRole) loop() {
	m := r.m
	defer m.wg.Done()
	for {
		select {
		case <-m.applies.wake:
		case <-m.stopping:
			return
		case <-m.failed:
			return
		}
		for more := true; more; {
			applied := false // remains false if a step panics
			more = false
			m.applier.do(func() {
				applied = m.applier.step()
				more = m.applier.tidy() || applied
			})
			if applied {
				m.raft.try()
				m.passOn()
			}
		}
	}
}
