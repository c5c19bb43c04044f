package member

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/internal/replica"
)

// The errors that refuse a change of the members before it is proposed.
var (
	// ErrNotEnoughStarted says that after the change fewer members would run than it takes to
	// agree.
	ErrNotEnoughStarted = errors.New("re-configuration failed due to not enough started members")
	// ErrUnhealthy says that members which the change relies on are not connected.
	ErrUnhealthy = errors.New("unhealthy cluster")
	// ErrLearnerNotReady says that a learner has not caught up with the leader.
	ErrLearnerNotReady = errors.New("can only promote a learner member which is in sync with leader")
	// ErrNotLeader says that only the leader can do it.
	ErrNotLeader = errors.New("not leader")
	// ErrBadTransferee says that leadership cannot go to a member.
	ErrBadTransferee = errors.New("bad leader transferee")
	// ErrTransferTimeout says that another member did not take over in time.
	ErrTransferTimeout = errors.New("request timed out, leader transfer took too long")
)

// healthyAfter is how long a member must have been connected before a change relies on it, as in
// etcd.
const healthyAfter = 5 * time.Second

// AddMember adds a member, which is then to be started, and returns its record. Besides the errors
// above it returns those of membership.
func (m *Member) AddMember(ctx context.Context, peerURLs []string, learner bool) (membership.Member, error) {
	if err := m.checkPeerURLsNow(ctx, peerURLs); err != nil {
		return membership.Member{}, err
	}
	if m.cfg.StrictReconfig && !learner {
		if err := m.checkAddition(); err != nil {
			return membership.Member{}, err
		}
	}
	c := membership.Command{
		Kind: membership.KindAdd, ID: membership.MemberIDAt(peerURLs, "", time.Now()),
		PeerURLs: peerURLs, Learner: learner, LearnersMax: m.cfg.LearnersMax,
	}
	err := m.reconfigure(ctx, &c, membership.ErrExists)
	return membership.Member{ID: c.ID, PeerURLs: peerURLs, Learner: learner}, err
}

// checkPeerURLsNow refuses URLs that another member has. That may have been removed just now, so
// the cluster is asked first.
func (m *Member) checkPeerURLsNow(ctx context.Context, peerURLs []string) error {
	if err := membership.CheckPeerURLs(m.Members(), 0, peerURLs); err == nil {
		return nil
	}
	if err := m.WaitLinearizable(ctx); err != nil {
		return err
	}
	return membership.CheckPeerURLs(m.Members(), 0, peerURLs)
}

// memberNow returns the record of a member. One that is not known here may have been added by
// another member just now, so the cluster is asked before it is said not to exist.
func (m *Member) memberNow(ctx context.Context, id uint64) (membership.Member, error) {
	record, err := m.member(id)
	if errors.Is(err, membership.ErrNotFound) {
		if err := m.WaitLinearizable(ctx); err != nil {
			return record, err
		}
		return m.member(id)
	}
	return record, err
}

// RemoveMember removes a member for good.
func (m *Member) RemoveMember(ctx context.Context, id uint64) error {
	record, err := m.memberNow(ctx, id)
	if err != nil {
		return err
	}
	if m.cfg.StrictReconfig && !record.Learner {
		if err := m.checkRemoval(id); err != nil {
			return err
		}
	}
	return m.reconfigure(ctx, &membership.Command{Kind: membership.KindRemove, ID: id}, membership.ErrRemoved)
}

// PromoteMember makes a learner that has caught up a voter.
func (m *Member) PromoteMember(ctx context.Context, id uint64) error {
	err := m.promoteMember(ctx, id)
	if err == nil {
		m.metrics.LearnersPromoted.Inc()
	} else {
		m.metrics.LearnerPromoteFailed(promotionRefusal(err))
	}
	return err
}

// promotionRefusal returns why a learner was not promoted, in a few words that are always the same
// for the same reason.
func promotionRefusal(err error) string {
	for _, known := range []error{membership.ErrNotFound, membership.ErrNotLearner, ErrLearnerNotReady, ErrNotEnoughStarted, ErrUnhealthy, ErrTimeout} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "other"
}

func (m *Member) promoteMember(ctx context.Context, id uint64) error {
	record, err := m.memberNow(ctx, id)
	if err != nil {
		return err
	}
	if !record.Learner {
		return membership.ErrNotLearner
	}
	ready, err := m.learnerReady(ctx, id)
	if err != nil {
		return err
	}
	if !ready {
		return ErrLearnerNotReady
	}
	if m.cfg.StrictReconfig {
		if err := m.checkAddition(); err != nil {
			return err
		}
	}
	return m.reconfigure(ctx, &membership.Command{Kind: membership.KindPromote, ID: id}, membership.ErrNotLearner)
}

// checkAddition refuses another voter when the ones there are cannot agree together with one that
// does not run yet.
func (m *Member) checkAddition() error {
	voters, started := m.voters(0)
	quorum := (voters+1)/2 + 1
	if started == 1 && voters == 1 {
		return nil // how every cluster begins to grow
	}
	if started < quorum {
		return ErrNotEnoughStarted
	}
	if m.connected(healthyAfter) < voters {
		return ErrUnhealthy
	}
	return nil
}

// checkRemoval refuses the removal of a voter when those that are left cannot agree.
func (m *Member) checkRemoval(id uint64) error {
	voters, started := m.voters(id)
	quorum := voters/2 + 1
	if started < quorum {
		return ErrNotEnoughStarted
	}
	// A member that is gone anyway is removed for that reason.
	if m.active(id, 0) && m.connected(0)-1 < quorum {
		return ErrUnhealthy
	}
	return nil
}

// voters counts the voters but one, and those of them that have started.
func (m *Member) voters(but uint64) (voters, started int) {
	for _, record := range m.Members() {
		if record.Learner || record.ID == but {
			continue
		}
		voters++
		if record.Started() {
			started++
		}
	}
	return voters, started
}

// connected counts the voters that have been connected for so long; this one is.
func (m *Member) connected(since time.Duration) (n int) {
	for _, record := range m.Members() {
		if !record.Learner && m.active(record.ID, since) {
			n++
		}
	}
	return n
}

func (m *Member) active(id uint64, since time.Duration) bool {
	if id == m.cfg.ID {
		return true
	}
	at := m.transport.ActiveSince(id)
	return !at.IsZero() && time.Since(at) >= since
}

// reconfigure has a change of the members applied. Raft drops a change while another one is under
// way, and tells nobody; so it is proposed again until there is an answer. already is what a change
// that has been made is refused with.
func (m *Member) reconfigure(ctx context.Context, c *membership.Command, already error) error {
	m.reconfiguring.Lock()
	defer m.reconfiguring.Unlock()
	c.MovesRevision = m.movesRevision(ctx)
	ctx, cancel := context.WithTimeoutCause(ctx, m.requestTimeout(), ErrTimeout)
	defer cancel()
	for attempt := 0; ; attempt++ {
		err := m.proposeChange(ctx, c)
		switch {
		case errors.Is(err, already) && attempt > 0:
			return nil
		case errors.Is(err, errNoAnswer), errors.Is(err, ErrLeaderChanged):
			continue
		case errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil:
			return context.Cause(ctx)
		default:
			return err
		}
	}
}

// errNoAnswer says that a change may not have been taken.
var errNoAnswer = errors.New("change of members not applied yet")

// proposeChange proposes a change of the members and waits for the answer, for the time of an
// election.
func (m *Member) proposeChange(ctx context.Context, c *membership.Command) error {
	kind, payload := machine.KindMembership, c.Append(nil)
	if m.gate.State().Enabled {
		kind, payload = onBehalf(ctx, kind, payload)
	}
	p, err := m.inbox.submitChange(kind, payload, machine.NewChange(c), m.now())
	if err != nil {
		return err
	}
	m.advance()
	patience := time.NewTimer(2 * m.electionTimeout())
	defer patience.Stop()
	select {
	case <-p.done:
		return errors.Join(p.err, p.result.Err)
	case <-patience.C:
		return errNoAnswer
	case <-ctx.Done():
		return ctx.Err()
	case <-m.stopping:
		return ErrStopped
	case <-m.failed:
		return ErrStopped
	}
}

// learnerReadyPath is the call that asks the leader whether a learner has caught up: the ID (8
// bytes) for a byte, 1 or 0.
const learnerReadyPath = "member/learner-ready"

// learnerReady asks the leader whether a learner has caught up.
func (m *Member) learnerReady(ctx context.Context, id uint64) (bool, error) {
	if m.leads.Load() {
		return m.caughtUp(id), nil
	}
	answer, err := m.callLeader(ctx, learnerReadyPath, binary.BigEndian.AppendUint64(nil, id))
	return len(answer) == 1 && answer[0] == 1, err
}

func (m *Member) answerLearnerReady(_ context.Context, _ uint64, body []byte) ([]byte, error) {
	if len(body) != 8 {
		return nil, fmt.Errorf("ask for a learner: %d bytes, want 8", len(body))
	}
	if !m.leads.Load() {
		return nil, ErrNotLeader
	}
	if m.caughtUp(binary.BigEndian.Uint64(body)) {
		return []byte{1}, nil
	}
	return []byte{0}, nil
}

// callLeader has the leader answer a call.
func (m *Member) callLeader(ctx context.Context, path string, body []byte) ([]byte, error) {
	leader := m.Leader()
	if leader == 0 {
		return nil, replica.ErrNoLeader
	}
	ctx, cancel := context.WithTimeout(ctx, m.requestTimeout())
	defer cancel()
	return m.transport.Call(ctx, leader, path, body)
}

// caughtUp reports whether a learner has nine tenths of this leader's log, as etcd wants it.
func (m *Member) caughtUp(id uint64) bool {
	var own, match uint64
	for _, f := range m.followers() {
		switch f.ID {
		case m.cfg.ID:
			own = f.Match
		case id:
			match = f.Match
		}
	}
	return match > 0 && float64(match) >= 0.9*float64(own)
}

// followers returns what this leader knows of the members.
func (m *Member) followers() (followers []replica.Follower) {
	m.raft.do(func() { followers = m.replica.Followers() })
	return followers
}

// MoveLeader has another voter lead, and returns when it does.
func (m *Member) MoveLeader(ctx context.Context, to uint64) error {
	if !m.leads.Load() {
		return ErrNotLeader
	}
	if record, err := m.member(to); err != nil || record.Learner {
		return ErrBadTransferee
	}
	ctx, cancel := context.WithTimeout(ctx, m.requestTimeout())
	defer cancel()
	return m.transfer(ctx, to)
}

// transfer hands leadership over, and returns when another member leads.
func (m *Member) transfer(ctx context.Context, to uint64) error {
	if to == m.cfg.ID {
		return nil
	}
	m.raft.do(func() {
		m.replica.TransferLeadership(to)
		m.raft.step()
	})
	m.passOn()
	ticker := time.NewTicker(m.cfg.TickInterval / 4)
	defer ticker.Stop()
	for m.Leader() != to {
		select {
		case <-ctx.Done():
			return ErrTransferTimeout
		case <-m.stopping:
			return ErrStopped
		case <-m.failed:
			return ErrStopped
		case <-ticker.C:
		}
	}
	return nil
}

// promoteLearners makes voters of the learners that have caught up, where that is wanted.
func (m *Member) promoteLearners() {
	if !m.cfg.LearnerAutoPromote || !m.leads.Load() {
		return
	}
	for _, record := range m.Members() {
		if !record.Learner || !record.Started() || !m.active(record.ID, 0) {
			continue
		}
		if err := m.PromoteMember(context.Background(), record.ID); err == nil {
			m.log.Info("learner has caught up and is a voter now", "member_id", idText(record.ID), "name", record.Name)
		} else if !errors.Is(err, ErrLearnerNotReady) {
			m.log.Warn("promote learner", "member_id", idText(record.ID), "error", err)
		}
	}
}

func idText(id uint64) string { return fmt.Sprintf("%x", id) }
