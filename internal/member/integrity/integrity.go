// Package integrity detects damaged data. Members apply the same commands, so the checksums of
// their keys as of the same revision, with the same history before it, are equal; otherwise a disk
// or a bug has damaged the data of one of them. The leader compares them and raises the alarm
// CORRUPT.
//
// Concurrency: all methods may be called from any goroutine; a member computes one paced checksum
// at a time.
package integrity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"cairn/internal/alarm"
	"cairn/internal/membership"
	"cairn/internal/mvcc"
)

// ErrDamaged is returned by CheckAtStart when this member's data differs from that of the others.
var ErrDamaged = errors.New("data differs from that of the other members")

// Member is the part of the member that the checks need.
type Member interface {
	Leads() bool
	Members() []membership.Member
	Alarms() *alarm.State
	// SignalAlarm proposes to raise or clear an alarm.
	SignalAlarm(ctx context.Context, action alarm.Action, kind alarm.Kind, id uint64)
}

// State computes checksums of this member's state.
type State interface {
	// HashState returns a checksum of all tables that are equal on all members, as of the last
	// applied entry, and its revision.
	HashState(pause func() error) (sum uint32, revision int64, err error)
	// Hash returns the checksum of the keys and their history as of a revision; see
	// mvcc.Store.Hash.
	Hash(revision int64, pause func() error) (mvcc.Hash, error)
	// HashKeys returns the checksum of the keys alone as of a revision; see
	// mvcc.Store.HashKeys.
	HashKeys(revision int64, pause func() error) (mvcc.Hash, error)
	CompactRevision() int64
}

// Options configures Checks.
type Options struct {
	ID     uint64
	Member Member
	State  State
	Calls  Calls
	// Stopped returns an error once the member stops.
	Stopped func() error
	Log     *slog.Logger
}

// Checks makes the checks of one member.
type Checks struct {
	o       Options
	hashing chan struct{} // has a token while a paced checksum is computed
}

// New returns the checks of a member, and registers them for calls of other members.
func New(o Options) *Checks {
	c := &Checks{o: o, hashing: make(chan struct{}, 1)}
	o.Calls.Register(hashPath, c.serveHash)
	return c
}

// HashState returns a checksum of all tables that are equal on all members, as of the last applied
// entry, and its revision.
func (c *Checks) HashState(ctx context.Context) (sum uint32, revision int64, err error) {
	return c.o.State.HashState(func() error { return c.ended(ctx) })
}

// HashKV returns the checksum of the keys as of a revision, for clients; 0 means the current one.
// The checks among members compare the history, too.
func (c *Checks) HashKV(ctx context.Context, revision int64) (mvcc.Hash, error) {
	return c.o.State.HashKeys(revision, func() error { return c.ended(ctx) })
}

// ended returns an error once the context has ended, or the member stops.
func (c *Checks) ended(ctx context.Context) error {
	if err := c.o.Stopped(); err != nil {
		return err
	}
	return ctx.Err()
}

// Intervals are the intervals of the leader's comparisons: of all present keys
// (--corrupt-check-time), and of the keys at the revision of the last compaction, if that is a new
// one (--compact-hash-check-time). 0 means never.
type Intervals struct {
	Present, Compacted time.Duration
}

// Run compares until the context ends. Only a leader with other members does.
func (c *Checks) Run(ctx context.Context, every Intervals) {
	present, stopPresent := ticks(every.Present)
	defer stopPresent()
	compacted, stopCompacted := ticks(every.Compacted)
	defer stopCompacted()
	checked := int64(0) // the compaction that was compared last
	for {
		revision := int64(0)
		select {
		case <-ctx.Done():
			return
		case <-present:
		case <-compacted:
			if revision = c.o.State.CompactRevision(); revision <= checked {
				continue
			}
		}
		if c.o.Stopped() != nil {
			return
		}
		if !c.o.Member.Leads() || len(c.o.Member.Members()) < 2 {
			continue
		}
		compared, err := c.compare(ctx, revision)
		switch {
		case err == nil && compared && revision > 0:
			checked = revision
			c.o.Log.Info("finished compaction hash check", "revision", revision)
		case err != nil && !errors.Is(err, mvcc.ErrCompacted) && !errors.Is(err, mvcc.ErrLoading) && c.ended(ctx) == nil:
			c.o.Log.Warn("check for damaged data", "error", err)
		}
	}
}

// ticks returns a ticker's channel, or one without ticks.
func ticks(d time.Duration) (<-chan time.Time, func()) {
	if d <= 0 {
		return nil, func() {}
	}
	t := time.NewTicker(d)
	return t.C, t.Stop
}

// compare compares the members' keys as of a revision and raises the alarm if they differ. It
// reports whether there was another member to compare with.
func (c *Checks) compare(ctx context.Context, revision int64) (compared bool, err error) {
	own, err := c.pacedHash(ctx, revision)
	if err != nil {
		return false, fmt.Errorf("hash own keys at revision %d: %w", revision, err)
	}
	others := c.PeerHashes(ctx, own.Revision)
	d := compareHashes(PeerHash{Member: c.o.ID, Hash: own}, others)
	for _, o := range others {
		if o.Err != nil {
			c.o.Log.Debug("member returns no hash", "member_id", o.Member, "revision", own.Revision, "error", o.Err)
		}
	}
	for _, id := range d.members {
		c.o.Log.Error("members differ in their data", "member_id", id, "revision", own.Revision, "compact_revision", own.CompactRevision)
		if _, ok := c.o.Member.Alarms().Find(alarm.Corrupt, id); !ok {
			c.o.Member.SignalAlarm(ctx, alarm.Raise, alarm.Corrupt, id)
		}
	}
	return d.compared > 1, nil
}

// CheckAtStart compares this member's keys with those of the others before it serves clients. It
// returns ErrDamaged if this member's may be the damaged ones. Members that do not respond are
// skipped.
func (c *Checks) CheckAtStart(ctx context.Context) error {
	if len(c.o.Member.Members()) < 2 {
		return nil
	}
	own, err := c.o.State.Hash(0, func() error { return c.ended(ctx) })
	if errors.Is(err, mvcc.ErrLoading) {
		return nil // the keys are not complete, on no member
	}
	if err != nil {
		return fmt.Errorf("hash own keys: %w", err)
	}
	d := compareHashes(PeerHash{Member: c.o.ID, Hash: own}, c.PeerHashes(ctx, own.Revision))
	for _, id := range d.members {
		if id == c.o.ID || id == 0 {
			return fmt.Errorf("revision %d: %w", own.Revision, ErrDamaged)
		}
	}
	return nil
}

// damage is the result of comparing checksums.
type damage struct {
	members  []uint64 // 0 means one or more unknown members
	compared int      // number of checksums that could be compared
}

// compareHashes returns the members that differ. Checksums of different revisions or compactions
// cannot be compared. If more than half of them agree, the rest are damaged; otherwise the damaged
// members are unknown.
func compareHashes(own PeerHash, others []PeerHash) (d damage) {
	count := map[uint32]int{own.Hash.Sum: 1}
	hashes := []PeerHash{own}
	for _, o := range others {
		if o.Err == nil && o.Hash.Revision == own.Hash.Revision && o.Hash.CompactRevision == own.Hash.CompactRevision {
			hashes = append(hashes, o)
			count[o.Hash.Sum]++
		}
	}
	d.compared = len(hashes)
	if len(count) == 1 {
		return d
	}
	for sum, n := range count {
		if 2*n <= len(hashes) {
			continue
		}
		for _, a := range hashes {
			if a.Hash.Sum != sum {
				d.members = append(d.members, a.Member)
			}
		}
		return d
	}
	d.members = []uint64{0}
	return d
}
