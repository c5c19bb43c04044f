// Package keepalive renews leases: the leader in memory, other members by calls to the leader.
//
// The leader confirms, after the request has arrived, that no other member leads, promises the
// lease a TTL from the request's arrival, and remembers the promise (lease.Promises). Only when the
// promise would pass the deadline in the state does it first move that deadline, by commands that
// all requests share (extend). A follower collects the requests that arrive during a call to the
// leader, and sends them in the next one.
//
// A renewal by command (lease.KindRenew) is always possible, and is used when a renewal in memory
// is not possible: while a member of 0.1.0 is in the cluster, and when the leader cannot be called.
//
// Invariant: a confirmed renewal was promised in a term whose leadership was confirmed after the
// request's arrival (inMemory); ADR 0020 has the proof that then no lease ends early.
//
// All methods may be called from any goroutine.
package keepalive

import (
	"context"
	"errors"
	"sync"
	"time"

	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/machine"
	"cairn/internal/mvcc"
	"cairn/internal/peer"
)

// Clock is the clock of a leadership; *replica.Clock is one. Another leadership has another one.
type Clock interface {
	Term() uint64
	// Start returns the cluster time at which the clock started.
	Start() kv.ClusterTime
}

// Member is the part of the member that renewals need.
type Member interface {
	// Clock returns the clock of this member's leadership, nil while it does not lead.
	Clock() Clock
	// At returns the current cluster time of a clock.
	At(c Clock) kv.ClusterTime
	Leader() uint64
	// ReadsAtOnce reports whether WaitLinearizable does not wait, since there is no other member.
	ReadsAtOnce() bool
	WaitLinearizable(ctx context.Context) error
	// MayRenew returns the reason for which leases cannot be renewed now, or nil: ErrByCommand
	// unless all members support lease.KindExtend and lease.KindEnd.
	MayRenew() error
	// Propose proposes a command on behalf of the context's actor.
	Propose(ctx context.Context, kind machine.Kind, payload []byte) (*machine.Result, error)
	// ProposeOwn proposes a command of the cluster itself.
	ProposeOwn(ctx context.Context, kind machine.Kind, payload []byte) error
}

// Calls makes calls to other members.
type Calls interface {
	Register(path string, h peer.CallHandler)
	Call(ctx context.Context, id uint64, path string, body []byte) ([]byte, error)
}

// Options configures a Renewer.
type Options struct {
	ID     uint64
	Member Member
	Keys   *mvcc.Store
	Calls  Calls
	// CallTimeout is how long a call to the leader may take. Then a renewal is made by command,
	// which a later leader can accept, too.
	CallTimeout time.Duration
	// Running ends when the member stops.
	Running context.Context
}

// Renewer renews leases.
type Renewer struct {
	o        Options
	promises *lease.Promises

	mu      sync.Mutex // guards the fields below
	waiting []*forwarded
	sending bool // a goroutine sends what waits

	extensions []*extension
	extending  bool // a goroutine proposes the extensions
}

// New returns a Renewer, and registers its calls.
func New(o Options) *Renewer {
	r := &Renewer{o: o, promises: lease.NewPromises(func() int64 { return o.Keys.Head().Revision })}
	o.Calls.Register(renewPath, r.serveRenew)
	o.Calls.Register(deadlinePath, r.serveDeadline)
	return r
}

// Promises returns the renewals in memory.
func (r *Renewer) Promises() *lease.Promises { return r.promises }

// Leadership returns the term of this member's leadership, 0 while it does not lead, and makes the
// promises those of this leadership.
func (r *Renewer) Leadership() (term uint64) {
	c := r.o.Member.Clock()
	if c == nil {
		r.promises.Follow()
		return 0
	}
	r.promises.Lead(c.Term(), c.Start())
	return c.Term()
}

// ErrByCommand ends an attempt to renew leases in memory: they are renewed by commands instead.
var ErrByCommand = errors.New("renew by command")

// The other errors that end such an attempt.
var (
	errLeadershipLost = errors.New("leadership lost")
	errNoLeader       = errors.New("no leader is known, or this member is not the leader")
)

// attemptsMax is how often renewals are tried in memory before they are made by command.
const attemptsMax = 3

// RenewLeases renews leases. It stores the TTL of each in seconds, 0 for a lease that does not
// exist or has expired, and returns the revision of the state to which these results belong.
func (r *Renewer) RenewLeases(ctx context.Context, ids []kv.LeaseID, ttls []int64) (revision int64, err error) {
	for range attemptsMax {
		revision, err = r.renew(ctx, ids, ttls)
		switch {
		case errors.Is(err, errLeadershipLost):
		case errors.Is(err, ErrByCommand):
			return r.byCommand(ctx, ids, ttls)
		default:
			return revision, err
		}
	}
	return r.byCommand(ctx, ids, ttls)
}

func (r *Renewer) renew(ctx context.Context, ids []kv.LeaseID, ttls []int64) (revision int64, err error) {
	if c := r.o.Member.Clock(); c != nil {
		return r.inMemory(ctx, c, ids, ttls)
	}
	leader := r.o.Member.Leader()
	if leader == 0 || leader == r.o.ID {
		return 0, ErrByCommand // it waits until a leader can accept it
	}
	return r.forward(ctx, ids, ttls)
}

// pending is the TTL of a lease that is not renewed yet.
const pending = -1

// inMemory renews leases while this member leads.
func (r *Renewer) inMemory(ctx context.Context, c Clock, ids []kv.LeaseID, ttls []int64) (revision int64, err error) {
	m := r.o.Member
	from := m.At(c)
	if err := m.WaitLinearizable(ctx); err != nil {
		return 0, err
	}
	if m.Clock() != c {
		return 0, errLeadershipLost // another member may have confirmed the read
	}
	if err := m.MayRenew(); err != nil {
		return 0, err
	}
	r.promises.Lead(c.Term(), c.Start())
	for i := range ttls {
		ttls[i] = pending
	}
	for range attemptsMax {
		short, revision, err := r.promise(c, from, ids, ttls)
		if err != nil || len(short) == 0 {
			return revision, err
		}
		if err := r.extend(ctx, c.Term(), short); err != nil {
			return 0, err
		}
	}
	return 0, ErrByCommand
}

// promise renews the pending leases, and returns those whose deadlines must be extended before.
func (r *Renewer) promise(c Clock, from kv.ClusterTime, ids []kv.LeaseID, ttls []int64) (short []kv.LeaseID, revision int64, err error) {
	look := func() lease.Lookup {
		reading := r.o.Keys.Reading()
		return func(id kv.LeaseID) (lease.Lease, bool, error) { return lease.Get(reading, id) }
	}()
	now := r.o.Member.At(c)
	for i, id := range ids {
		if ttls[i] != pending {
			continue
		}
		got, err := r.promises.Renew(c.Term(), from, now, id, look)
		if err != nil {
			return nil, 0, err
		}
		revision = got.Revision
		switch got.Outcome {
		case lease.Renewed:
			ttls[i] = got.TTL
		case lease.NotFound:
			ttls[i] = 0
		case lease.NeedsExtension:
			short = append(short, id)
		case lease.OtherTerm:
			return nil, 0, errLeadershipLost
		}
	}
	return short, revision, nil
}

// RenewAtOnce renews a lease if that is possible without waiting, and otherwise reports false and
// has no effect.
func (r *Renewer) RenewAtOnce(id kv.LeaseID) (ttl, revision int64, ok bool) {
	m := r.o.Member
	c := m.Clock()
	if c == nil {
		return 0, 0, false
	}
	from := m.At(c)
	if !m.ReadsAtOnce() || m.Clock() != c || m.MayRenew() != nil {
		return 0, 0, false
	}
	got, err := r.promises.Renew(c.Term(), from, from, id, nil)
	return got.TTL, got.Revision, err == nil && got.Outcome == lease.Renewed
}

// Deadline returns when a lease of the state ends unless it is renewed. Without a connection to the
// leader it may return a later time than the leader would, at most a TTL from now on.
func (r *Renewer) Deadline(ctx context.Context, now kv.ClusterTime, l *lease.Lease) kv.ClusterTime {
	if c := r.o.Member.Clock(); c != nil {
		r.promises.Lead(c.Term(), c.Start())
		if at, ok := r.promises.Deadline(c.Term(), l); ok {
			return at
		}
	}
	if l.Ahead == 0 {
		return l.Deadline
	}
	if left, ok := r.askDeadline(ctx, l.ID); ok {
		return now + left
	}
	return min(l.Deadline, now+l.Granted())
}

// commandsMax is how many renewals by command of one request are in progress at a time.
const commandsMax = 64

// byCommand renews leases by one command each.
func (r *Renewer) byCommand(ctx context.Context, ids []kv.LeaseID, ttls []int64) (revision int64, err error) {
	var mu sync.Mutex // guards revision and err
	var workers sync.WaitGroup
	slots := make(chan struct{}, commandsMax)
	for i, id := range ids {
		ttls[i] = 0
		if id == 0 {
			continue
		}
		slots <- struct{}{}
		workers.Go(func() {
			defer func() { <-slots }()
			ttl, at, failed := r.oneByCommand(ctx, id)
			mu.Lock()
			defer mu.Unlock()
			ttls[i], revision = ttl, max(revision, at)
			if failed != nil {
				err = failed
			}
		})
	}
	workers.Wait()
	if revision == 0 {
		revision = r.o.Keys.Head().Revision // no lease was named
	}
	return revision, err
}

func (r *Renewer) oneByCommand(ctx context.Context, id kv.LeaseID) (ttl, revision int64, err error) {
	c := lease.Command{Kind: lease.KindRenew, ID: id}
	res, err := r.o.Member.Propose(ctx, machine.KindLease, c.Append(nil))
	switch {
	case errors.Is(err, mvcc.ErrLeaseNotFound):
		return 0, r.o.Keys.Head().Revision, nil
	case err != nil:
		return 0, 0, err
	}
	return res.Lease.TTL, res.Revision, nil
}
