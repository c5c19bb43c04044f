package member

import (
	"runtime"
	"time"
)

// The three roles of the replica are locks, not threads. Each has a goroutine that waits for its
// work, but a goroutine that has made work for a role, and finds the role free, does the work
// itself. So a request that comes alone is packed by the goroutine that brought it, and synced,
// applied and completed by the log writer's: two hand-overs. Under load the roles are taken, the
// work gathers in their queues, and the goroutines go through it batch by batch. See docs/adr/0003.
//
// A request's own goroutine never touches the disk: its context must end its wait when the disk
// hangs. No goroutine waits for a role while it holds another one, except the log writer, which
// waits for the applier to install a snapshot.

// advance takes a request that has just been put into the inbox as far as it gets without the disk.
func (m *Member) advance() {
	if m.readable.Load() && m.appendsUnderWay.Load() >= appendsUnderWayMax {
		return // the log writer takes what has gathered when its append is done
	}
	if m.inbox.backlog.requests.Load() > 1 {
		// Requests that are about to be put into the inbox share this one's entry if their
		// goroutines run first.
		runtime.Gosched()
	}
	m.raft.try()
	m.passOn()
}

// try does a round of the applier's work, if there is any and the role is free. Otherwise the
// applier's goroutine does it. Only goroutines of roles call it.
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

// passOn wakes the goroutines for which there is work.
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

// round does a round of the log writer's work, and hands on what follows from it. It reports
// whether there was any.
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
	// What was appended goes on its way, and is applied here when no other append waits.
	m.raft.try()
	if m.inbox.backlog.requests.Load() <= 1 {
		m.applier.try()
	} else {
		m.passOn()
		// Clients that are about to put their requests into the inbox do so before the next entry
		// is made. Members that wait for other disks do not wait for this.
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
			applied := false // a step that panics leaves it so
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
