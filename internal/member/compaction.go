package member

import (
	"context"
	"errors"
	"sync"
	"time"

	"cairn/internal/machine"
	"cairn/internal/mvcc"
)

// sweepWaiters are the compactions that wait until the applier has swept behind
// them.
type sweepWaiters struct {
	mu      sync.Mutex
	waiting []chan struct{}
}

// WaitSwept returns when what the compactions so far have to remove is removed.
func (m *Member) WaitSwept(ctx context.Context) error {
	done := make(chan struct{})
	m.sweeps.mu.Lock()
	m.sweeps.waiting = append(m.sweeps.waiting, done)
	m.sweeps.mu.Unlock()
	m.applies.signal() // the applier may have finished before we came
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-m.stopping:
		return ErrStopped
	case <-m.failed:
		return ErrStopped
	}
}

func (m *Member) sweepDone() {
	m.space.swept.Store(m.Keys().Head().CompactRevision)
	m.sweeps.mu.Lock()
	defer m.sweeps.mu.Unlock()
	for _, done := range m.sweeps.waiting {
		close(done)
	}
	m.sweeps.waiting = nil
}

// AutoCompaction says how a member compacts of itself: periodically to the
// revision of Retention ago, or to Revisions before the present one; not at all when
// both are 0.
type AutoCompaction struct {
	Retention time.Duration
	Revisions int64
}

// RunAutoCompaction compacts until the context ends. Only the leader does it, so
// that the members of a cluster do not all propose the same.
func (m *Member) RunAutoCompaction(ctx context.Context, a AutoCompaction) {
	var next func() int64
	interval := 5 * time.Minute
	switch {
	case a.Retention > 0:
		// As in etcd: the revision is noted ten times per retention, and compaction
		// follows at the same pace, but not more than once in an hour or a retention.
		interval = max(min(a.Retention, time.Hour)/10, time.Millisecond)
		w := window{span: a.Retention, pace: min(a.Retention, time.Hour)}
		next = func() int64 { return w.next(m.now(), m.Keys().Head().Revision) }
	case a.Revisions > 0:
		next = func() int64 { return m.Keys().Head().Revision - a.Revisions }
	default:
		return
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.stopping:
			return
		case <-ticker.C:
		}
		if rev := next(); m.leads.Load() && rev > m.Keys().Head().CompactRevision {
			m.compactTo(ctx, rev)
		}
	}
}

func (m *Member) compactTo(ctx context.Context, rev int64) {
	_, err := m.Propose(ctx, machine.KindAutoCompact, machine.AppendCompact(nil, rev))
	switch {
	case err == nil:
		m.log.Info("compacted history", "revision", rev)
	case !errors.Is(err, mvcc.ErrCompacted) && ctx.Err() == nil:
		m.log.Warn("compact history", "revision", rev, "error", err)
	}
}

// window remembers revisions for as long as a span, to tell which one was the
// present one a span ago.
type window struct {
	span, pace time.Duration
	last       time.Duration // when next last told a revision
	seen       []sighting
}

type sighting struct {
	at       time.Duration
	revision int64
}

// next notes the present revision, and returns the one of a span ago, or 0 when
// there is none yet or the pace forbids it.
func (w *window) next(now time.Duration, revision int64) int64 {
	w.seen = append(w.seen, sighting{now, revision})
	found := int64(0)
	for len(w.seen) > 1 && now-w.seen[0].at >= w.span {
		found = w.seen[0].revision
		if now-w.seen[1].at < w.span {
			break
		}
		w.seen = w.seen[1:]
	}
	if found == 0 || w.last != 0 && now-w.last < w.pace {
		return 0
	}
	w.last = now
	return found
}
