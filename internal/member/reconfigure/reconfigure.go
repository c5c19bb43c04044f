// Package reconfigure changes the members of the cluster, one change at a time: it refuses changes
// after which the cluster could not reach a quorum, proposes the others until they are applied, and
// promotes learners that have caught up.
//
// The state machine (package membership) decides whether a change takes effect.
//
// Concurrency: all methods of Changes may be called from any goroutine.
package reconfigure

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"cairn/internal/config"
	"cairn/internal/membership"
	"cairn/internal/peer"
)

// The errors that refuse a change of the members before it is proposed.
var (
	// ErrNotEnoughStarted is returned when fewer members than a quorum would be running after the
	// change.
	ErrNotEnoughStarted = errors.New("re-configuration failed due to not enough started members")
	// ErrUnhealthy is returned when members that the change relies on are not connected.
	ErrUnhealthy = errors.New("unhealthy cluster")
	// ErrLearnerNotReady is returned when a learner has not caught up with the leader.
	ErrLearnerNotReady = errors.New("can only promote a learner member which is in sync with leader")
	// ErrNotApplied is returned by Member.ProposeChange when a change may have been lost.
	ErrNotApplied = errors.New("change of members not applied yet")
)

// Member is the part of the member that changes need.
type Member interface {
	Members() []membership.Member
	WasRemoved(id uint64) bool
	// WaitLinearizable returns when Members has all changes that were acknowledged before the call.
	WaitLinearizable(ctx context.Context) error
	// ProposeChange proposes a change once, and waits for the usual time until it is applied; then
	// it returns ErrNotApplied.
	ProposeChange(ctx context.Context, c *membership.Command) error
}

// Leader is the part of the member that knows the leader.
type Leader interface {
	Leads() bool
	// CaughtUp reports whether a learner has nearly all of this leader's log.
	CaughtUp(id uint64) bool
	// CallLeader makes a call to the leader.
	CallLeader(ctx context.Context, path string, body []byte) ([]byte, error)
}

// Connections are the connections to the other members; a member's transport implements it.
type Connections interface {
	// ActiveSince returns the time since when a member has been connected; the zero time when it is
	// not.
	ActiveSince(id uint64) time.Time
	Register(path string, h peer.CallHandler)
}

// Options configures Changes.
type Options struct {
	ID          uint64
	Member      Member
	Leader      Leader
	Connections Connections

	LearnersMax uint64 // --max-learners
	// --strict-reconfig-check: refuse changes after which too few members run
	Strict      bool
	AutoPromote bool          // --learner-auto-promote
	Timeout     time.Duration // of a change
	ErrTimeout  error         // of a change that was not applied in time
	// Retry reports whether a change may be proposed again after an error.
	Retry func(error) bool
	// NotLeader is the error of calls that only the leader serves.
	NotLeader error
	// Promoted is called after each attempt to promote a learner, with its error or nil.
	Promoted func(error)
	Log      *slog.Logger
}

// Changes makes changes of the members.
type Changes struct {
	o  Options
	mu sync.Mutex // held while a change is made
}

// New returns the Changes of a member, and registers them for calls of other members.
func New(o Options) *Changes {
	c := &Changes{o: o}
	o.Connections.Register(learnerReadyPath, c.serveLearnerReady)
	return c
}

// AddMember adds a member, which must then be started, and returns its record. In addition to the
// errors above it returns those of package membership.
func (c *Changes) AddMember(ctx context.Context, peerURLs []string, learner bool) (membership.Member, error) {
	if err := c.checkPeerURLs(ctx, 0, peerURLs); err != nil {
		return membership.Member{}, err
	}
	if c.o.Strict {
		if err := c.checkAddition(learner); err != nil {
			return membership.Member{}, err
		}
	}
	command := membership.Command{
		Kind: membership.KindAdd, ID: membership.MemberIDAt(peerURLs, "", time.Now()),
		PeerURLs: peerURLs, Learner: learner, LearnersMax: c.o.LearnersMax,
	}
	err := c.change(ctx, &command, membership.ErrExists)
	return membership.Member{ID: command.ID, PeerURLs: peerURLs, Learner: learner}, err
}

// checkPeerURLs refuses URLs of a member other than the one with the ID. This member may not have
// applied the removal of the other one yet, so it makes a linearizable read before it refuses.
//
// It compares addresses: [::1] is [0:0:0:0:0:0:0:1]. The state machine compares only the texts,
// since all versions must decide the same there.
func (c *Changes) checkPeerURLs(ctx context.Context, id uint64, peerURLs []string) error {
	if !taken(c.o.Member.Members(), id, peerURLs) {
		return nil
	}
	if err := c.o.Member.WaitLinearizable(ctx); err != nil {
		return err
	}
	if taken(c.o.Member.Members(), id, peerURLs) {
		return membership.ErrPeerURLExists
	}
	return nil
}

// taken reports whether a member other than the one with the ID has one of the addresses.
func taken(members []membership.Member, id uint64, peerURLs []string) bool {
	return slices.ContainsFunc(members, func(m membership.Member) bool {
		return m.ID != id && slices.ContainsFunc(m.PeerURLs, func(theirs string) bool {
			return slices.ContainsFunc(peerURLs, func(url string) bool { return config.SamePlace(url, theirs) })
		})
	})
}

// UpdatePeerURLs replaces a member's peer URLs. It returns membership.ErrNotFound and
// ErrPeerURLExists.
func (c *Changes) UpdatePeerURLs(ctx context.Context, id uint64, peerURLs []string) error {
	if _, ok := membership.Find(c.o.Member.Members(), id); ok {
		if err := c.checkPeerURLs(ctx, id, peerURLs); err != nil {
			return err
		}
	}
	return c.change(ctx, &membership.Command{Kind: membership.KindUpdate, ID: id, PeerURLs: peerURLs}, nil)
}

// RemoveMember removes a member permanently.
func (c *Changes) RemoveMember(ctx context.Context, id uint64) error {
	record, err := c.find(ctx, id)
	if err != nil {
		return err
	}
	if c.o.Strict && !record.Learner {
		if err := c.checkRemoval(id); err != nil {
			return err
		}
	}
	return c.change(ctx, &membership.Command{Kind: membership.KindRemove, ID: id}, membership.ErrRemoved)
}

// find returns the record of a member. Another member may have added it a moment ago, so it makes a
// linearizable read before it returns that there is none.
func (c *Changes) find(ctx context.Context, id uint64) (membership.Member, error) {
	record, err := c.findHere(id)
	if !errors.Is(err, membership.ErrNotFound) {
		return record, err
	}
	if err := c.o.Member.WaitLinearizable(ctx); err != nil {
		return record, err
	}
	return c.findHere(id)
}

func (c *Changes) findHere(id uint64) (membership.Member, error) {
	record, ok := membership.Find(c.o.Member.Members(), id)
	switch {
	case c.o.Member.WasRemoved(id):
		return record, membership.ErrRemoved
	case !ok:
		return record, membership.ErrNotFound
	default:
		return record, nil
	}
}

// change proposes a change of the members until it is applied: raft drops a change while another
// one is in progress, without an error. already is the error of a change that has been made.
func (c *Changes) change(ctx context.Context, command *membership.Command, already error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	// See membership.Command.
	command.MovesRevision = membership.RevisionMoves(ctx) || !membership.KnowStillChanges(c.o.Member.Members())
	ctx, cancel := context.WithTimeoutCause(ctx, c.o.Timeout, c.o.ErrTimeout)
	defer cancel()
	for attempt := 0; ; attempt++ {
		err := c.o.Member.ProposeChange(ctx, command)
		switch {
		case already != nil && errors.Is(err, already) && attempt > 0:
			return nil
		case ctx.Err() != nil && err != nil && errors.Is(err, context.DeadlineExceeded):
			return context.Cause(ctx)
		case errors.Is(err, ErrNotApplied) || err != nil && c.o.Retry(err):
			continue
		default:
			return err
		}
	}
}
