// Package compactor compacts the history of the keys automatically: periodically to a revision of
// some time ago, or to a number of revisions before the current one.
//
// Only the leader does it, so that the members of a cluster do not all propose the same compaction.
//
// Concurrency: Run belongs to one goroutine.
package compactor

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"cairn/internal/mvcc"
)

// Member is the part of the member that a compactor needs.
type Member interface {
	// Leads reports whether this member is the leader.
	Leads() bool
	// Compact proposes a compaction, and waits until it is applied.
	Compact(ctx context.Context, revision int64) error
}

// Policy is the rule for the revision to compact to. The zero Policy compacts nothing.
type Policy struct {
	Retention time.Duration // to the revision of this long ago
	Revisions int64         // to this many revisions before the current one
}

// Run compacts by a policy until the context ends.
func Run(ctx context.Context, p Policy, m Member, keys *mvcc.Store, log *slog.Logger) {
	start := time.Now()
	var next func() int64
	interval := 5 * time.Minute
	switch {
	case p.Retention > 0:
		// As in etcd: the revision is recorded ten times per retention, and compaction follows at
		// the same pace, but not more often than once in an hour or a retention.
		interval = max(min(p.Retention, time.Hour)/10, time.Millisecond)
		w := window{span: p.Retention, pace: min(p.Retention, time.Hour)}
		next = func() int64 { return w.next(time.Since(start), keys.Head().Revision) }
	case p.Revisions > 0:
		next = func() int64 { return keys.Head().Revision - p.Revisions }
	default:
		return
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if rev := next(); m.Leads() && rev > keys.Head().CompactRevision {
			compact(ctx, m, rev, log)
		}
	}
}

func compact(ctx context.Context, m Member, revision int64, log *slog.Logger) {
	err := m.Compact(ctx, revision)
	switch {
	case err == nil:
		log.Info("compacted history", "revision", revision)
	case !errors.Is(err, mvcc.ErrCompacted) && ctx.Err() == nil:
		log.Warn("compact history", "revision", revision, "error", err)
	}
}

// window records revisions for a span of time, to find the revision of one span ago.
type window struct {
	span, pace time.Duration
	last       time.Duration // when next last returned a revision
	seen       []sighting
}

type sighting struct {
	at       time.Duration
	revision int64
}

// next records the current revision, and returns the one of a span ago, or 0 when there is none yet
// or the pace forbids it.
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
