package member

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"cairn/internal/replica"
)

// The errors of requests that only the leader serves, and of transfers of leadership.
var (
	// ErrNotLeader is returned by a member that is not the leader.
	ErrNotLeader = errors.New("not leader")
	// ErrBadTransferee is returned when leadership cannot be transferred to the given member.
	ErrBadTransferee = errors.New("bad leader transferee")
	// ErrTransferTimeout is returned when the other member did not become the leader in time.
	ErrTransferTimeout = errors.New("request timed out, leader transfer took too long")
)

// MoveLeader transfers leadership to another voter, and returns when that is the leader.
func (m *Member) MoveLeader(ctx context.Context, to uint64) error {
	if !m.leads.Load() {
		return ErrNotLeader
	}
	if record, ok := m.find(to); !ok || record.Learner {
		return ErrBadTransferee
	}
	ctx, cancel := context.WithTimeout(ctx, m.requestTimeout())
	defer cancel()
	return host{m}.transfer(ctx, to)
}

// transfer transfers leadership, and returns when another member is the leader.
func (h host) transfer(ctx context.Context, to uint64) error {
	m := h.m
	if to == m.cfg.ID {
		return nil
	}
	m.raft.do(func() {
		m.replica.TransferLeadership(to)
		m.raft.step()
	})
	m.passOn()
	for {
		changed := m.leaderChange.next()
		if m.Leader() == to {
			return nil
		}
		select {
		case <-ctx.Done():
			return ErrTransferTimeout
		case <-m.running.Done():
			return ErrStopped
		case <-changed:
		}
	}
}

// leaderChange notifies waiters that the member knows another leader, or none.
type leaderChange struct {
	mu      sync.Mutex
	changed chan struct{} // closed at the next change; nil when there is no waiter
}

// next returns a channel that is closed at the next change.
func (l *leaderChange) next() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return l.changed
}

func (l *leaderChange) notify() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// handOver transfers leadership before this member stops, so that the cluster need not wait for an
// election timeout. It waits at most an election timeout.
func (h host) handOver() {
	m := h.m
	if !m.leads.Load() || m.done() {
		return
	}
	to := uint64(0)
	m.raft.do(func() { to = m.replica.Successor() })
	if to == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), m.electionTimeout())
	defer cancel()
	if err := h.transfer(ctx, to); err != nil {
		m.log.Info("leadership was not handed over", "to", idText(to), "error", err)
	}
}

// CallLeader makes a call to the leader.
func (h host) CallLeader(ctx context.Context, path string, body []byte) ([]byte, error) {
	leader := h.m.Leader()
	if leader == 0 {
		return nil, replica.ErrNoLeader
	}
	ctx, cancel := context.WithTimeout(ctx, h.m.requestTimeout())
	defer cancel()
	return h.m.calls.Call(ctx, leader, path, body)
}

// CaughtUp reports whether a learner has nine tenths of this leader's log, as etcd requires.
func (h host) CaughtUp(id uint64) bool {
	var followers []replica.Follower
	h.m.raft.do(func() { followers = h.m.replica.Followers() })
	var own, match uint64
	for _, f := range followers {
		switch f.ID {
		case h.m.cfg.ID:
			own = f.Match
		case id:
			match = f.Match
		}
	}
	return match > 0 && float64(match) >= 0.9*float64(own)
}

func idText(id uint64) string { return fmt.Sprintf("%x", id) }
