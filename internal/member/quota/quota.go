// Package quota keeps the state of a member below its quota, --quota-backend-bytes: above it the
// member raises the alarm NOSPACE, which refuses writes that add data, and it clears the alarm that
// it has raised when space is free again.
//
// Concurrency: CheckSpace, the sizes and Swept may be called from any goroutine; Tend and Wait
// belong to one.
package quota

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"cairn/internal/alarm"
)

// Store is the state store.
type Store interface {
	// Size returns the size in files and in memory, and how much of that is in use.
	Size() (total, inUse uint64)
	// Measure makes the next call of Size measure the files.
	Measure()
	// Reclaim rewrites files until deleted data takes no space.
	Reclaim(ctx context.Context) error
}

// Member is the part of the member that the quota needs.
type Member interface {
	Alarms() *alarm.State
	// SignalAlarm proposes to raise or clear an alarm of this member.
	SignalAlarm(ctx context.Context, action alarm.Action, kind alarm.Kind, id uint64)
}

// Options configures a Space.
type Options struct {
	ID     uint64
	Bytes  int64 // the quota; 0 means none
	Store  Store
	Member Member
	Log    *slog.Logger
}

// Space is the space of one member's state.
type Space struct {
	o     Options
	full  bool          // the state exceeded the quota at the last call of Tend
	wake  chan struct{} // has a token when the state has exceeded the quota since then
	swept atomic.Int64  // the compact revision up to which everything is swept

	reclaiming sync.WaitGroup
	// space is being reclaimed; the fields below belong to the goroutine that does
	busy  atomic.Bool
	until time.Time // when space may be reclaimed again
	seen  int64     // swept when space was last reclaimed
}

// New returns the space of a member.
func New(o Options) *Space { return &Space{o: o, wake: make(chan struct{}, 1)} }

// Wake has a token when Tend should be called soon.
func (s *Space) Wake() <-chan struct{} { return s.wake }

// Swept is called when the rows that compactions up to a revision made obsolete have been removed.
func (s *Space) Swept(compactRevision int64) { s.swept.Store(compactRevision) }

// StateBytes returns the size of the state, in files and in memory, and how much of that is in use.
func (s *Space) StateBytes() (total, inUse int64) {
	t, u := s.o.Store.Size()
	return int64(t), int64(u)
}

// QuotaBytes returns the quota; 0 means none.
func (s *Space) QuotaBytes() int64 { return max(s.o.Bytes, 0) }

// CheckSpace returns alarm.ErrNoSpace or ErrCorrupt when commands that add data are refused.
// Handlers call it before they propose, to keep refused commands out of the log.
func (s *Space) CheckSpace() error {
	if err := s.o.Member.Alarms().MayAdd(); err != nil {
		return err
	}
	if s.o.Bytes <= 0 {
		return nil
	}
	if size, _ := s.StateBytes(); size > s.o.Bytes {
		select {
		case s.wake <- struct{}{}: // the other members learn of it by the alarm
		default:
		}
		return alarm.ErrNoSpace
	}
	return nil
}

// Tend compares the state's size with the quota, and raises or clears the alarm. The member calls
// it at intervals.
func (s *Space) Tend(ctx context.Context) {
	over := s.compare()
	raised, ok := s.o.Member.Alarms().Find(alarm.NoSpace, s.o.ID)
	switch {
	case over && !ok:
		s.o.Member.SignalAlarm(ctx, alarm.Raise, alarm.NoSpace, s.o.ID)
	case !over && ok && raised.Own:
		s.o.Member.SignalAlarm(ctx, alarm.Lift, alarm.NoSpace, s.o.ID)
	}
	if over {
		s.reclaim(ctx)
	}
}

// compare reports whether the state is larger than the quota.
func (s *Space) compare() bool {
	if s.o.Bytes <= 0 {
		return false
	}
	s.o.Store.Measure()
	size, _ := s.StateBytes()
	over := size > s.o.Bytes
	if s.full == over {
		return over
	}
	s.full = over
	if over {
		s.o.Log.Warn("state outgrew its quota: writes that add data are refused until space is back", "bytes", size, "quota_bytes", s.o.Bytes)
	} else {
		s.o.Log.Info("state is below its quota again", "bytes", size, "quota_bytes", s.o.Bytes)
	}
	return over
}

// reclaim frees the space of deleted data while writes are refused: clients must not wait until the
// storage engine frees it. It runs for at most a fifth of the time.
func (s *Space) reclaim(ctx context.Context) {
	if s.busy.Load() || time.Now().Before(s.until) {
		return
	}
	swept := s.swept.Load()
	if swept == s.seen {
		return
	}
	s.busy.Store(true)
	s.seen = swept
	began := time.Now()
	s.reclaiming.Go(func() {
		if err := s.o.Store.Reclaim(ctx); err != nil && ctx.Err() == nil {
			s.o.Log.Warn("reclaim space", "error", err)
		}
		s.until = time.Now().Add(4 * time.Since(began))
		s.busy.Store(false)
	})
}

// Wait returns when no space is being reclaimed; the context given to Tend must have ended.
func (s *Space) Wait() { s.reclaiming.Wait() }
