// Package expiry makes the leader expire nodes of v2 and leases at their deadline, and keep the
// deadlines of leases that are renewed in memory ahead of their promises.
//
// A command has the deadline that it acts on, and does nothing if the node or lease has another one
// by then. So it may be applied late, or come from a member that is no longer the leader. A lease
// whose promise has passed is ended before its deadline in the state, by a command that has no
// effect in another term.
//
// It owns the times at which deadlines are checked and the number of commands at a time. It does
// not own the effect of a command (v2tree, lease).
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

// Member is the part of the member that expiry needs.
type Member interface {
	// MayExpire reports whether this member is the leader, and no alarm forbids that keys are
	// removed.
	MayExpire() bool
	// ClusterTimes returns the current cluster time, and that of the last applied entry.
	ClusterTimes() (now, applied kv.ClusterTime)
	// ProposeAll proposes commands together and waits until they are applied. It returns the result
	// of each that was proposed: fewer than given when the backlog is full. An error means that the
	// member stops.
	ProposeAll(ctx context.Context, commands []Command) ([]error, error)
	// ProposeClusterTime proposes an entry with the cluster time.
	ProposeClusterTime()
}

// Leases are the renewals in memory; keepalive.Renewer implements it.
type Leases interface {
	// Leadership returns the term of this member's leadership, 0 while it does not lead.
	Leadership() (term uint64)
	Promises() *lease.Promises
}

// Command expires one node or lease.
type Command struct {
	Kind    machine.Kind
	Payload []byte
}

// Options configures an Expiry.
type Options struct {
	Member          Member
	Keys            *mvcc.Store
	Leases          Leases
	ElectionTimeout time.Duration
	Log             *slog.Logger
	// LeaseExpired is called for each lease that has expired.
	LeaseExpired func()
}

// The pace: the interval of checking deadlines, and the maximum number of commands at a time; they
// share an entry with clients' requests and so are few. The pause after them is as long as they
// took.
const (
	interval = 100 * time.Millisecond
	atATime  = 32
	// lookBackEvery is the number of intervals after which all deadlines are checked again, for
	// those whose command has failed.
	lookBackEvery = 10
	// retry is the time after which a lease is ended again whose command has failed.
	retry = lookBackEvery * interval
	// loadAtATime is how many leases are read at a time after an election.
	loadAtATime = 512
	// extendAtATime is how many deadlines a command moves ahead, some 5 µs for each.
	extendAtATime = 256
	// v2Delay is how long a node of v2 outlives its TTL. etcd checks them every half second, so
	// there a node outlives its TTL by a quarter of a second on average. Some programs rely on it:
	// they write with a TTL of 0 and then read; the recorded responses of etcd have such a case.
	v2Delay = 250 * time.Millisecond
)

// Expiry expires nodes and leases that are due.
type Expiry struct {
	Options
	// from is a time before which no deadlines are due: where many thousands have just been
	// removed, the store would have to skip all of them at each check.
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

// round expires everything that is due now, and moves deadlines ahead.
func (x *Expiry) round(ctx context.Context) error {
	for term := x.Leases.Leadership(); term != 0; {
		began := time.Now()
		more, err := x.tendLeases(ctx, term)
		if err == nil && x.Member.MayExpire() {
			var expired bool
			expired, err = x.expire(ctx, term)
			more = more || expired
		}
		if err != nil {
			return err
		}
		if !more || !pause(ctx, time.Since(began)) {
			break
		}
	}
	return x.keepTime()
}

// pause waits, and reports whether the context is still active. When very many deadlines are due
// together, it alternates with clients' requests.
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

// tendLeases reads leases that earlier leaders have extended, moves the deadlines of some leases
// ahead, and reports whether there may be more to do.
func (x *Expiry) tendLeases(ctx context.Context, term uint64) (more bool, err error) {
	promises := x.Leases.Promises()
	more, err = promises.Load(term, x.Keys.Reading(), loadAtATime)
	if err != nil {
		return false, err
	}
	ids := promises.Extensions(term, extendAtATime)
	if len(ids) == 0 {
		return more, nil
	}
	extension := lease.Extension(term, ids)
	results, stopped := x.Member.ProposeAll(ctx, []Command{{machine.KindLease, extension.Append(nil)}})
	for _, err := range results {
		if err != nil {
			x.Log.Debug("extend leases", "error", err) // the next renewal of each does it
		}
	}
	return more || len(ids) == extendAtATime && stopped == nil, nil
}

// expire expires what is due among the earliest deadlines that are not before from, advances from,
// and reports whether there may be more.
func (x *Expiry) expire(ctx context.Context, term uint64) (more bool, err error) {
	due, last, err := x.due()
	if err != nil {
		return false, err
	}
	now, _ := x.Member.ClusterTimes()
	ends, more := x.Leases.Promises().Due(term, now, kv.ClusterTime(retry), atATime)
	for i := range ends {
		due = append(due, Command{machine.KindLease, ends[i].Append(nil)})
	}
	if len(due) == 0 {
		return more, nil
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
		return false, nil // the next check finds the others again
	}
	x.from = last
	return more || len(due) >= atATime, nil
}

// due returns the commands for nodes of v2 and leases that are due, and the last of their
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
	// Deadlines after v2Now are checked again: they may be of nodes that are not due yet.
	return commands, max(x.from, min(last, v2Now)), nil
}

// keepTime proposes the cluster time when deadlines wait and no entry has had it for an election
// timeout: so a new leader extends a deadline at most by that.
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

// deadlinesWait reports whether any deadline exists.
func (x *Expiry) deadlinesWait() (bool, error) {
	nodes, err := v2tree.Due(x.Keys.Reading(), 0, math.MaxInt64, 1)
	if err != nil || len(nodes) > 0 {
		return len(nodes) > 0, err
	}
	leases, err := lease.Due(x.Keys.Reading(), 0, math.MaxInt64, 1)
	return len(leases) > 0, err
}
