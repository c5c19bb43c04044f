package member

import (
	"fmt"
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/invariant"
	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/internal/replica"
)

// logRole is the replica's log writer. The role guards the replica's methods of that role.
type logRole struct{ role }

// step appends all queued messages, with one fsync, when one of them is urgent. It reports whether
// there was one, and how many of them had entries: the caller subtracts these from appendsUnderWay.
func (r *logRole) step() (done bool, appends int32) {
	m := r.m
	if m.appends.idle() || m.done() {
		return false, 0 // a commit index is written together with the next entries
	}
	msgs := m.appends.take()
	began := time.Now()
	installs := float64(countSnapshots(msgs))
	m.metrics.SnapshotsApplying.Add(installs)
	responses, err := r.append(msgs)
	m.metrics.SnapshotsApplying.Sub(installs)
	if err != nil {
		m.fail(err)
		return false, 0
	}
	for _, msg := range msgs {
		if len(msg.Entries) > 0 {
			appends++
		}
	}
	m.metrics.LogFsync.Observe(time.Since(began).Seconds())
	m.inbox.respond(r.sendOn(responses))
	return true, appends
}

// append appends messages, in as few steps as the snapshots among them allow, and returns the
// responses that are due.
func (r *logRole) append(msgs []*raftpb.Message) (responses []*raftpb.Message, err error) {
	m := r.m
	for {
		due, left, err := m.replica.Append(msgs)
		if err != nil {
			return nil, err
		}
		if len(left) == 0 && responses == nil {
			return due, nil
		}
		responses = append(responses, due...)
		if len(left) == 0 {
			return responses, nil
		}
		if due, err = m.applier.install(left[0]); err != nil {
			return nil, err
		}
		responses, msgs = append(responses, due...), left[1:]
		if len(msgs) == 0 {
			return responses, nil
		}
	}
}

// countSnapshots returns how many messages carry a snapshot.
func countSnapshots(msgs []*raftpb.Message) (n int) {
	for _, msg := range msgs {
		if msg.GetSnapshot().GetMetadata().GetIndex() != 0 {
			n++
		}
	}
	return n
}

const (
	// keptPart is the part of the state's bytes that the log may have for members that are away. A
	// member that lacks more gets a snapshot: it receives one about that many times as fast as it
	// applies entries (ADR 0030).
	keptPart = 8
	// keptBytesMin is kept of the log of a small state, too. It is what may be on the way to a
	// follower (replica's limit), which needs no snapshot then when its connection breaks.
	keptBytesMin = 64 << 20
)

// truncate removes the log entries that the durable state contains, except those that members which
// are behind may need.
func (r *logRole) truncate() {
	m := r.m
	var keep replica.Keep
	if !m.readable.Load() { // a sole member has no follower
		_, state := m.stateStore.Size()
		keep = replica.Keep{
			Entries: m.cfg.CatchUpEntries, Bytes: max(state/keptPart, keptBytesMin), FollowedBytes: max(state, keptBytesMin),
		}
	}
	if err := m.replica.Truncate(keep); err != nil {
		m.fail(err)
	}
}

// applyRole is the replica's applier. The role guards the fields, the machine's methods of that
// role, and the order in which requests are completed.
type applyRole struct {
	role

	// waiting are the uncompleted requests of an entry that has been applied in part.
	waiting []*proposal
	// members are the members that the connections were last updated for.
	members []membership.Member
	// compacted is the compact revision of the last compaction whose end was logged.
	compacted int64
	// sinceFlush counts the entries applied since the last flush was begun.
	sinceFlush uint64
	stepBegan  time.Time // of the step in progress
	// compacting is since when work is left of a compaction; zero when none is.
	compacting time.Time
	// finishing has the goroutines of finishDeferred. closeRoles waits for them.
	finishing sync.WaitGroup
}

// round does a step, and reports whether tidy has work to do.
func (r *applyRole) round() bool {
	r.step()
	return r.sinceFlush >= r.m.cfg.SnapshotCount || !r.m.machine.Swept()
}

// step applies all queued messages, and completes their requests. It reports whether there were
// any.
func (r *applyRole) step() bool {
	m := r.m
	msgs := m.applies.take()
	if len(msgs) == 0 || m.done() {
		return false
	}
	r.stepBegan = time.Now()
	if err := r.apply(msgs); err != nil {
		m.fail(err)
		for _, p := range r.waiting {
			p.finish(ErrStopped)
		}
		r.waiting = nil
		return false
	}
	r.updatePeers()
	m.lastTime.heard(m.now(), m.machine.ClusterTime())
	m.reads.reached(m.machine.AppliedIndex())
	m.replica.ReleaseApplied()
	took := time.Since(r.stepBegan)
	m.metrics.StateCommit.Observe(took.Seconds())
	m.metrics.Apply.Observe(took.Seconds())
	if took > m.cfg.SlowApply {
		m.metrics.SlowApplies.Inc()
		r.logSlow(msgs, took)
	}
	for _, msg := range msgs {
		r.sinceFlush += uint64(len(msg.Entries))
	}
	return true
}

// logSlow logs that entries were slow to apply, in the form of etcd, which log pipelines parse.
func (r *applyRole) logSlow(msgs []*raftpb.Message, took time.Duration) {
	entries, bytes := 0, 0
	for _, msg := range msgs {
		entries += len(msg.Entries)
		for _, e := range msg.Entries {
			bytes += len(e.Data)
		}
	}
	r.m.log.Warn("apply request took too long", "took", took, "expected-duration", r.m.cfg.SlowApply, "prefix", "",
		"request", fmt.Sprintf("entries:%d size:%d", entries, bytes), "response", fmt.Sprintf("revision:%d", r.m.machine.Keys().Head().Revision))
}

// apply applies messages, in as many batches as needed. After each batch it publishes the events to
// the watches and completes the requests.
func (r *applyRole) apply(msgs []*raftpb.Message) error {
	m := r.m
	for more := true; more; msgs = nil {
		batch, applied, err := m.replica.Apply(msgs)
		if err != nil {
			return err
		}
		if batch.Restarted {
			m.hub.PublishReplaced(m.machine.Keys().Head().Revision)
		}
		m.hub.Publish(batch.Events, batch.EventCount)
		r.count(batch.Tally)
		for _, bad := range batch.Malformed {
			m.log.Error("refused an entry or command that cannot be decoded", "index", bad.Index, "error", bad.Err)
		}
		for i := range batch.Results {
			r.complete(&batch.Results[i])
		}
		more = applied.More
		m.inbox.finish(applied)
	}
	return nil
}

// complete completes the requests of an entry whose commands were applied with this batch of the
// state machine.
func (r *applyRole) complete(e *machine.EntryResults) {
	if e.First == 0 {
		var sameSize bool
		if r.waiting, sameSize = r.m.pending.remove(e.Batch, e.Commands); !sameSize {
			// Only a forged entry can name a batch of this member and have other commands. The
			// requests wait for the entry that was proposed, or time out.
			r.m.log.Error("an applied entry has this member's origin but not the commands it proposed", "batch", e.Batch, "commands", e.Commands)
		}
	}
	if len(r.waiting) == 0 {
		return // proposed before a restart, timed out, or forged
	}
	if n := len(e.Results); n > 0 {
		// Readers must see what a client is about to hear of.
		shown := r.m.Keys().Head().Revision
		invariant.Check(e.Results[n-1].Revision <= shown, "a result of revision %d is not visible at %d", e.Results[n-1].Revision, shown)
	}
	for i := range e.Results {
		p := r.waiting[i]
		r.waiting[i] = nil
		p.result, e.Results[i] = e.Results[i], machine.Result{}
		if p.parts != nil {
			p.parts.committed, p.parts.applied = r.stepBegan, time.Now()
		}
		if read := r.m.machine.BeginDeferred(&p.result); read != nil {
			r.finishing.Go(func() { r.finishDeferred(p, read) })
			continue
		}
		p.finish(nil)
	}
	r.waiting = r.waiting[len(e.Results):]
}

// finishDeferred completes a transaction that has been applied, when the keys have been read that
// its result lacks. It runs without the role.
func (r *applyRole) finishDeferred(p *proposal, read func() error) {
	err := read()
	if err != nil {
		r.m.fail(err)
		err = ErrStopped
	}
	p.finish(err)
}

// install replaces the state by the snapshot in an append. The log writer calls it; it acquires the
// applier's role, since no entry may be applied meanwhile.
func (r *applyRole) install(msg *raftpb.Message) (responses []*raftpb.Message, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.m
	responses, err = m.replica.Install(msg)
	if err != nil {
		return nil, err
	}
	m.pending.replaced(m.machine.AppliedTerm(), ErrLeaderChanged)
	m.hub.PublishReplaced(m.machine.Keys().Head().Revision)
	m.reads.reached(m.machine.AppliedIndex())
	r.updatePeers()
	r.sinceFlush = 0
	m.applies.signal() // there may be tombstones to sweep
	return responses, nil
}

// tidy does background work between batches, in slices: it starts a flush that is due, and sweeps
// rows that compactions have made obsolete. It reports whether there is more.
func (r *applyRole) tidy() (more bool) {
	m := r.m
	if m.done() {
		return false
	}
	if r.sinceFlush >= m.cfg.SnapshotCount {
		r.sinceFlush = 0
		if err := m.stateStore.StartFlush(); err != nil {
			m.fail(err)
			return false
		}
	}
	began, swept := time.Now(), m.machine.Swept()
	if !swept && r.compacting.IsZero() {
		r.compacting = began
	}
	more, err := m.machine.Sweep()
	if !swept {
		m.metrics.CompactionPause.Observe(milliseconds(time.Since(began)))
	}
	switch {
	case err != nil:
		m.fail(err)
	case !more:
		r.sweepDone()
		r.logCompaction()
	}
	return more && err == nil
}

// logCompaction logs the end of a compaction in etcd's words, because tools wait for them. The
// first one may have ended before this start.
func (r *applyRole) logCompaction() {
	m := r.m
	if !r.compacting.IsZero() {
		m.metrics.CompactionTotal.Observe(milliseconds(time.Since(r.compacting)))
		m.metrics.CompactionLast.SetToCurrentTime()
		r.compacting = time.Time{}
	}
	revision := m.machine.Keys().Head().CompactRevision
	if revision > r.compacted {
		r.compacted = revision
		m.log.Info("finished scheduled compaction", "compact_revision", revision)
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
