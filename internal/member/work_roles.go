package member

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/machine"
	"cairn/internal/membership"
)

// logRole is the replica's log writer. The mutex guards the replica's methods of that
// role.
type logRole struct {
	m *Member
	// syncing is when the append under way began, on the member's clock; 0 while there is none.
	syncing atomic.Int64

	sync.Mutex
}

// stalled says for how long the append under way has waited for the disk.
func (r *logRole) stalled() time.Duration {
	if began := r.syncing.Load(); began != 0 {
		return r.m.now() - time.Duration(began)
	}
	return 0
}

// step appends all that has gathered, with one fsync. It reports whether there was
// anything, and how many appends of entries that was: the caller takes them off those under way.
func (r *logRole) step() (done bool, appends int32) {
	m := r.m
	msgs := m.appends.take()
	if len(msgs) == 0 || m.done() {
		return false, 0
	}
	began := time.Now()
	r.syncing.Store(int64(m.now()))
	installs := float64(countSnapshots(msgs))
	m.metrics.SnapshotsApplying.Add(installs)
	responses, err := m.replica.Append(msgs, &m.applier)
	m.metrics.SnapshotsApplying.Sub(installs)
	r.syncing.Store(0)
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
	m.inbox.respond(m.sendOn(responses))
	return true, appends
}

// countSnapshots returns how many messages bring another member's state.
func countSnapshots(msgs []*raftpb.Message) (n int) {
	for _, msg := range msgs {
		if msg.GetSnapshot().GetMetadata().GetIndex() != 0 {
			n++
		}
	}
	return n
}

// truncate removes the log entries that the state on disk has made needless.
func (r *logRole) truncate() error {
	keep := r.m.cfg.CatchUpEntries
	if r.m.readable.Load() {
		keep = 0 // a sole member has nobody to catch up
	}
	return r.m.replica.Truncate(keep)
}

// applyRole is the replica's applier. The mutex guards the rest, the machine's methods
// of that role, and the order in which requests are answered.
type applyRole struct {
	m *Member

	sync.Mutex
	// waiting are the requests of the run of entries that is being applied, and
	// results where the results of one entry go.
	waiting []*proposal
	results []*machine.Result
	// members are those that the connections are made for.
	members []membership.Member
	// sinceFlush counts the entries applied since the last flush was begun.
	sinceFlush uint64
}

// step applies all that has gathered, in one batch, and answers those who wait for
// it. It reports whether there was anything.
func (r *applyRole) step() bool {
	m := r.m
	msgs := m.applies.take()
	if len(msgs) == 0 || m.done() {
		return false
	}
	began := time.Now()
	applied, err := m.replica.Apply(msgs, r)
	if err != nil {
		m.fail(err)
		for _, p := range r.waiting {
			p.finish(ErrStopped)
		}
		r.waiting = nil
		return false
	}
	r.lookAtMembers()
	m.lastTime.heard(m.now(), m.machine.ClusterTime())
	m.reads.reached(m.machine.AppliedIndex())
	m.replica.ReleaseApplied()
	took := time.Since(began)
	m.metrics.StateCommit.Observe(took.Seconds())
	if took > slowApply {
		m.metrics.SlowApplies.Inc()
	}
	for _, msg := range msgs {
		r.sinceFlush += uint64(len(msg.Entries))
	}
	m.inbox.finish(applied)
	return true
}

// Installed implements replica.Applier: the state was replaced by a snapshot.
func (r *applyRole) Installed() {
	m := r.m
	m.hub.PublishReplaced(m.machine.Keys().Head().Revision)
	m.reads.reached(m.machine.AppliedIndex())
	r.lookAtMembers()
	r.sinceFlush = 0
	m.applies.signal() // there may be tombstones to sweep
}

// Applied implements machine.Waiting: it tells the watchers, and answers the requests
// that are done. Those of an entry that is applied in several batches wait for theirs.
func (r *applyRole) Applied() {
	r.m.hub.Publish(r.m.machine.Events())
	r.m.count(r.m.machine.Tally())
	n := 0
	for n < len(r.waiting) && r.waiting[n].result.Done {
		r.waiting[n].finish(nil)
		n++
	}
	left := copy(r.waiting, r.waiting[n:])
	clear(r.waiting[left:])
	r.waiting = r.waiting[:left]
}

// Results implements machine.Waiting.
func (r *applyRole) Results(h machine.Header, n int) []*machine.Result {
	if h.Origin != r.m.cfg.ID {
		return nil
	}
	proposals := r.m.pending.remove(h.Batch)
	if len(proposals) == 0 {
		return nil // of an earlier life of this member, or given up
	}
	if len(proposals) != n {
		panic(fmt.Sprintf("entry of batch %d has %d commands, proposed were %d", h.Batch, n, len(proposals)))
	}
	r.results = r.results[:0]
	for _, p := range proposals {
		r.results = append(r.results, &p.result)
	}
	r.waiting = append(r.waiting, proposals...)
	return r.results
}

// tidy does what is left to do between batches, in slices: a flush that has become due,
// and what compactions have left. It reports whether there is more.
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
	more, err := m.machine.Sweep()
	switch {
	case err != nil:
		m.fail(err)
	case !more:
		m.sweepDone()
	}
	return more && err == nil
}
