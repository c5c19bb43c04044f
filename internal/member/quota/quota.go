// Package quota keeps the state of a member below its quota, --quota-backend-bytes: above it the
// member raises the alarm NOSPACE, which refuses writes that add data, and it lifts the alarm that
// it has raised when space is back.
//
// Concurrency: CheckSpace, the sizes and Swept may be called by any goroutine; Tend and Wait belong
// to one.
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
	// Measure has the next call of Size measure the files.
	Measure()
	// Reclaim rewrites files until what was deleted takes no space.
	Reclaim(ctx context.Context) error
}

// Member is what the quota needs of the member that it runs in.
type Member interface {
	Alarms() *alarm.State
	// SignalAlarm has an alarm raised or lifted by this member.
	SignalAlarm(ctx context.Context, action alarm.Action, kind alarm.Kind, id uint64)
}

// Options says whose space it is.
type Options struct {
	ID     uint64
	Bytes  int64 // the quota; 0 is none
	Store  Store
	Member Member
	Log    *slog.Logger
}

// Space is the space of one member's state.
type Space struct {
	o     Options
	full  bool          // the state had outgrown the quota when Tend looked last
	wake  chan struct{} // has a token when the state has outgrown the quota since then
	swept atomic.Int64  // the compact revision up to which nothing is left to be swept

	reclaiming sync.WaitGroup
	busy       atomic.Bool // space is being reclaimed; the rest belongs to the goroutine that does
	until      time.Time   // when it may be reclaimed again
	seen       int64       // swept when it was last
}

// New returns the space of a member.
func New(o Options) *Space { return &Space{o: o, wake: make(chan struct{}, 1)} }

// Wake has a token when Tend should be called soon.
func (s *Space) Wake() <-chan struct{} { return s.wake }

// Swept is called when what compactions up to a revision have removed is gone from the keys.
func (s *Space) Swept(compactRevision int64) { s.swept.Store(compactRevision) }

// StateBytes returns the size of the state, in files and in memory, and how much of that is in use.
func (s *Space) StateBytes() (total, inUse int64) {
	t, u := s.o.Store.Size()
	return int64(t), int64(u)
}

// QuotaBytes returns the quota; 0 is none.
func (s *Space) QuotaBytes() int64 { return max(s.o.Bytes, 0) }

// CheckSpace returns alarm.ErrNoSpace or ErrCorrupt when commands that add data are refused.
// Handlers call it before they propose, to spare the log what would be refused.
func (s *Space) CheckSpace() error {
	if err := s.o.Member.Alarms().MayAdd(); err != nil {
		return err
	}
	if s.o.Bytes <= 0 {
		return nil
	}
	if size, _ := s.StateBytes(); size > s.o.Bytes {
		select {
		case s.wake <- struct{}{}: // the other members learn of it by an alarm
		default:
		}
		return alarm.ErrNoSpace
	}
	return nil
}

// Tend compares the state's size with the quota, and raises or lifts the alarm. The member calls it
// now and then.
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

// reclaim gives back the space of what was deleted, while writes are refused for want of it:
// clients must not wait until the storage engine finds it worth while. It takes a fifth of the time
// at most.
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
