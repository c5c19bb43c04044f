// Package expiry has the leader end what has reached its deadline: nodes of v2 and leases.
//
// A command names the deadline that it acts on, and does nothing when that no longer holds. So it
// may come late, or from a member that no longer leads.
//
// It owns when deadlines are looked for and how many are ended at a time. What a command does is
// packages v2tree's and lease's.
//
// Concurrency: Run belongs to one goroutine.
package expiry

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"time"

	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/machine"
	"cairn/internal/mvcc"
	"cairn/internal/v2tree"
)

// Member is what expiry needs of the member that it runs in.
type Member interface {
	// MayExpire reports whether this member leads, and no alarm forbids that keys are removed.
	MayExpire() bool
	// ClusterTimes returns the present cluster time, and that of the last applied entry.
	ClusterTimes() (now, applied kv.ClusterTime)
	// ProposeAll proposes commands together and waits until they are applied. It returns the result
	// of each that was proposed: fewer than given when the backlog is full. An error means that the
	// member stops.
	ProposeAll(ctx context.Context, commands []Command) ([]error, error)
	// ProposeClusterTime has the cluster time written to the log.
	ProposeClusterTime()
}

// Command ends one node or lease.
type Command struct {
	Kind    machine.Kind
	Payload []byte
}

// Options says for what an Expiry runs.
type Options struct {
	Member          Member
	Keys            *mvcc.Store
	ElectionTimeout time.Duration
	Log             *slog.Logger
	// LeaseExpired is called for each lease that has ended.
	LeaseExpired func()
}

// The pace: the deadlines are looked at in each interval, so many are ended at a time, which share
// their entry with clients' requests and so are few, and the pause after them is as long as they
// took.
const (
	interval = 100 * time.Millisecond
	atATime  = 32
	// lookBackEvery is after how many intervals all deadlines are looked at again, for those whose
	// command has failed.
	lookBackEvery = 10
	// v2Delay is how long a node of v2 outlives its TTL. etcd looks for those every half second, so
	// there a node lives on for a quarter of a second on average. Programs rely on it that write
	// with a TTL of 0 and then read; the recorded answers of etcd have such a case.
	v2Delay = 250 * time.Millisecond
)

// Expiry ends what is due.
type Expiry struct {
	Options
	// from is before which no deadlines are due any more: where many thousands have just been
	// removed, the store would have to skip all of them at each look.
	from kv.ClusterTime
}

// New returns an Expiry to Run.
func New(o Options) *Expiry { return &Expiry{Options: o} }

// Run works until the context ends. An error means that the store cannot be read.
func (x *Expiry) Run(ctx context.Context) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for tick := 0; ; tick++ {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if tick%lookBackEvery == 0 || !x.Member.MayExpire() {
			x.from = 0
		}
		if err := x.round(ctx); err != nil {
			return fmt.Errorf("look for what has expired: %w", err)
		}
	}
}

// round ends all that is due now.
func (x *Expiry) round(ctx context.Context) error {
	for x.Member.MayExpire() {
		began := time.Now()
		more, err := x.expire(ctx)
		if err != nil {
			return err
		}
		if !more || !pause(ctx, time.Since(began)) {
			break
		}
	}
	return x.keepTime()
}

// pause waits, and reports whether the context goes on. Where very much ends together, clients'
// requests get every other turn.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// expire ends what is due among the earliest deadlines that are not before from, moves that on, and
// reports whether there may be more.
func (x *Expiry) expire(ctx context.Context) (more bool, err error) {
	due, last, err := x.due()
	if err != nil || len(due) == 0 {
		return false, err
	}
	results, stopped := x.Member.ProposeAll(ctx, due)
	for i, err := range results {
		if err != nil {
			x.Log.Debug("expire", "error", err)
		} else if due[i].Kind == machine.KindLease {
			x.LeaseExpired()
		}
	}
	if stopped != nil || len(results) < len(due) {
		return false, nil // the next look finds the others again
	}
	x.from = last
	return len(due) >= atATime, nil
}

// due returns the commands that end what is due, nodes of v2 and leases, and the last of their
// deadlines.
func (x *Expiry) due() (commands []Command, last kv.ClusterTime, err error) {
	now, _ := x.Member.ClusterTimes()
	reading, v2Now := x.Keys.Reading(), max(0, now-kv.ClusterTime(v2Delay))
	nodes, err := v2tree.Due(reading, x.from, v2Now, atATime)
	if err != nil {
		return nil, 0, err
	}
	leases, err := lease.Due(reading, x.from, now, atATime)
	if err != nil {
		return nil, 0, err
	}
	last = x.from
	for i := range nodes {
		last = max(last, nodes[i].Deadline)
		commands = append(commands, Command{machine.KindV2, nodes[i].Append(nil)})
	}
	for i := range leases {
		last = max(last, leases[i].Deadline)
		commands = append(commands, Command{machine.KindLease, leases[i].Append(nil)})
	}
	// Deadlines after v2Now are looked at again: they may be of nodes that are not due yet.
	return commands, max(x.from, min(last, v2Now)), nil
}

// keepTime has the cluster time written to the log when deadlines wait and no entry has carried it
// for an election timeout: a successor adds no more than that to a deadline.
func (x *Expiry) keepTime() error {
	now, applied := x.Member.ClusterTimes()
	if !x.Member.MayExpire() || time.Duration(now-applied) < x.ElectionTimeout {
		return nil
	}
	wait, err := x.deadlinesWait()
	if err != nil || !wait {
		return err
	}
	x.Member.ProposeClusterTime()
	return nil
}

// deadlinesWait reports whether anything will ever expire.
func (x *Expiry) deadlinesWait() (bool, error) {
	nodes, err := v2tree.Due(x.Keys.Reading(), 0, math.MaxInt64, 1)
	if err != nil || len(nodes) > 0 {
		return len(nodes) > 0, err
	}
	leases, err := lease.Due(x.Keys.Reading(), 0, math.MaxInt64, 1)
	return len(leases) > 0, err
}
