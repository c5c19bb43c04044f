package member

import (
	"runtime"
	"time"
)

// The three roles of the replica are locks, not threads. Each has a goroutine that
// waits for its work; but whoever has made work for a role, and finds it free, does it on
// the spot: a request that comes alone is packed, synced, applied and answered by the
// goroutine that brought it, without a hand-over. Under load the roles are taken, the
// work gathers in their queues, and the goroutines go through it batch by batch. See
// docs/adr/0003.
//
// Nobody waits for a role while it holds another one.

// advance takes a request that has just been put into the inbox as far as it gets
// without waiting for anybody else.
func (m *Member) advance() {
	if m.inbox.backlog.requests.Load() > 1 {
		// Others are at it, too: those that are about to put theirs into the inbox do so first, and
		// all share one entry.
		runtime.Gosched()
	}
	if m.readable.Load() && m.appendsUnderWay.Load() >= appendsUnderWayMax {
		return // who does the append that is under way takes what has gathered when it is done
	}
	m.raft.try()
	// Where others' disks decide as well, nobody is to hang on this one's.
	if m.readable.Load() && m.tryAppend() {
		m.raft.try()
	}
	m.tryApply()
	// Whoever was at the raft loop meanwhile may have left work to us that came too late
	// for the steps above.
	m.passOn()
}

// tryAppend does a round of the log writer's work here, when there is any and nobody
// is at it. Otherwise the log writer's goroutine does it.
func (m *Member) tryAppend() (done bool) {
	if m.appends.idle() {
		return false
	}
	if m.logs.TryLock() {
		var appends int32
		done, appends = m.logs.step()
		m.logs.Unlock()
		m.appendsUnderWay.Add(-appends)
	}
	if !m.appends.idle() {
		m.appends.signal()
	}
	return done
}

// tryApply is tryAppend for the applier.
func (m *Member) tryApply() {
	if m.applies.idle() {
		return
	}
	tidy := false
	if m.applier.TryLock() {
		m.applier.step()
		tidy = m.applier.sinceFlush >= m.cfg.SnapshotCount || !m.machine.Swept()
		m.applier.Unlock()
	}
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

// runRaft is the raft loop's goroutine.
func (m *Member) runRaft() {
	defer m.wg.Done()
	ticker := time.NewTicker(m.cfg.TickInterval)
	defer ticker.Stop()
	m.raft.campaign()
	for {
		m.passOn()
		select {
		case <-ticker.C:
			m.raft.tick()
		case <-m.inbox.wake:
		case <-m.stopping:
			return
		case <-m.failed:
			return
		}
		m.raft.Lock()
		m.raft.step()
		m.raft.Unlock()
	}
}

// runLogWriter is the log writer's goroutine.
func (m *Member) runLogWriter() {
	defer m.wg.Done()
	for {
		select {
		case <-m.appends.wake:
		case <-m.flushed:
			m.logs.Lock()
			if err := m.logs.truncate(); err != nil {
				m.fail(err)
			}
			m.logs.Unlock()
			continue
		case <-m.stopping:
			return
		case <-m.failed:
			return
		}
		for more := true; more; {
			m.logs.Lock()
			var appends int32
			more, appends = m.logs.step()
			m.logs.Unlock()
			if more {
				if m.readable.Load() {
					// What was appended goes on its way. Then those that are about to put their
					// requests into the inbox do so, before the next entry is made. Among several
					// members that one does not wait for this append.
					m.raft.try()
					m.passOn()
					runtime.Gosched()
				}
				m.appendsUnderWay.Add(-appends)
				m.raft.try()
				m.passOn()
			}
		}
	}
}

// runApplier is the applier's goroutine.
func (m *Member) runApplier() {
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
			m.applier.Lock()
			applied := m.applier.step()
			more = m.applier.tidy() || applied
			m.applier.Unlock()
			if applied {
				m.raft.try()
				m.passOn()
			}
		}
	}
}
