package keepalive

import (
	"context"
	"errors"
	"testing"

	"cairn/internal/kv"
	"cairn/internal/lease"
)

var seven = []kv.LeaseID{7}

// TestRenewInMemory: a leader writes only the first renewal, which moves the deadline ahead, and
// promises one TTL from the request's arrival, however long the confirmation takes.
func TestRenewInMemory(t *testing.T) {
	s, m := leased(t)
	m.confirm = func() error { m.advance(3 * second); return nil }
	m.advance(second) // 101 s
	m.renew(t, []kv.LeaseID{7, 8}, 10, 0)
	if len(m.own) != 1 || m.own[0].Kind != lease.KindExtend || m.own[0].Term != 5 || len(m.own[0].IDs) != 1 {
		t.Errorf("commands of the cluster: %+v, want an extension of lease 7 in term 5", m.own)
	}
	l := s.get(7)
	if at := m.r.Deadline(t.Context(), m.At(nil), &l); at != 111*second {
		t.Errorf("promised until %v, want 10 s after the arrival at 101 s", at)
	}
	m.renew(t, seven, 10) // arrives at 104 s
	if at := m.r.Deadline(t.Context(), m.At(nil), &l); at != 114*second {
		t.Errorf("promised until %v, want 10 s after the arrival at 104 s", at)
	}
	if len(m.own) != 1 || len(m.commands) != 0 {
		t.Errorf("the second renewal is written: %+v %+v", m.own, m.commands)
	}
	m.confirm = nil
	m.advance(7 * second) // 114 s: the promise has passed
	m.renew(t, seven, 0)
}

// TestAttempts: what a renewal does when the leadership, or its right to renew in memory, is lost
// on the way.
func TestAttempts(t *testing.T) {
	errDown := errors.New("down")
	for name, c := range map[string]struct {
		prepare   func(m *rig)
		err       error
		confirmed int    // confirmations of the leadership
		commands  int    // renewals by command
		term      uint64 // of the promise; 0: none
	}{
		"leads":                     {func(*rig) {}, nil, 1, 0, 5},
		"not confirmed":             {func(m *rig) { m.confirm = func() error { return errDown } }, errDown, 1, 0, 0},
		"elected again meanwhile":   {func(m *rig) { m.confirm = func() error { m.lead(6); m.confirm = nil; return nil } }, nil, 2, 0, 6},
		"elected again and again":   {func(m *rig) { m.confirm = func() error { m.lead(m.Clock().Term() + 1); return nil } }, nil, 3, 1, 0},
		"no leader any longer":      {func(m *rig) { m.confirm = func() error { m.lead(0); return nil } }, nil, 1, 1, 0},
		"does not lead":             {func(m *rig) { m.lead(0) }, nil, 0, 1, 0},
		"no leader":                 {func(m *rig) { m.lead(0); m.leader = 0 }, nil, 0, 1, 0},
		"a member of 0.1.0":         {func(m *rig) { m.mayRenew = ErrByCommand }, nil, 1, 1, 0},
		"leases may not be renewed": {func(m *rig) { m.mayRenew = errDown }, errDown, 1, 0, 0},
		"extensions have no effect": {func(m *rig) { m.lost = true }, nil, 1, 1, 0},
		"commands are refused":      {func(m *rig) { m.lead(0); m.propose = errDown }, errDown, 0, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, m := leased(t)
			c.prepare(m)
			m.advance(second)
			ttls := make([]int64, 1)
			if _, err := m.r.RenewLeases(t.Context(), seven, ttls); !errors.Is(err, c.err) {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if c.err == nil && ttls[0] != 10 {
				t.Errorf("TTL %d, want 10", ttls[0])
			}
			if m.confirmed != c.confirmed || len(m.commands) != c.commands {
				t.Errorf("%d confirmations and %d renewals by command, want %d and %d", m.confirmed, len(m.commands), c.confirmed, c.commands)
			}
			for _, command := range m.commands {
				if command.Kind != lease.KindRenew || command.ID != 7 {
					t.Errorf("proposed %+v", command)
				}
			}
			l := s.get(7)
			for term := uint64(5); term < 9; term++ {
				at, leads := m.r.promises.Deadline(term, &l)
				if promised := leads && at == 111*second && len(m.commands) == 0; promised != (term == c.term) {
					t.Errorf("term %d: promised until %v (%v), want a promise in term %d only", term, at, leads, c.term)
				}
			}
		})
	}
}

// TestByCommand: leases are renewed by one command each; ID 0 and a lease that does not exist have
// the TTL 0.
func TestByCommand(t *testing.T) {
	_, m := leased(t)
	m.lead(0)
	m.leader = 0
	m.renew(t, []kv.LeaseID{0, 7, 9}, 0, 10, 0)
	if len(m.commands) != 2 {
		t.Errorf("commands %+v, want those of the leases 7 and 9", m.commands)
	}
	m.renew(t, []kv.LeaseID{0}, 0) // has a revision although no lease is named
	m.propose = errors.New("down")
	if _, err := m.r.RenewLeases(t.Context(), []kv.LeaseID{7, 0}, make([]int64, 2)); !errors.Is(err, m.propose) {
		t.Errorf("error %v", err)
	}
}

// TestRenewAtOnce: a lease that has been renewed in memory is renewed without waiting, if reads
// need not wait either.
func TestRenewAtOnce(t *testing.T) {
	_, m := leased(t)
	m.atOnce = true
	m.advance(second)
	try := func(what string, id kv.LeaseID, want bool) {
		t.Helper()
		if ttl, revision, ok := m.r.RenewAtOnce(id); ok != want || ok && (ttl != 10 || revision < 1) {
			t.Errorf("%s: TTL %d, revision %d, %v; want %v", what, ttl, revision, ok, want)
		}
	}
	try("before the first renewal", 7, false)
	m.renew(t, seven, 10)
	try("after it", 7, true)
	try("a lease that does not exist", 8, false)
	m.atOnce = false
	try("with other members", 7, false)
	m.atOnce, m.mayRenew = true, ErrByCommand
	try("with a member of 0.1.0", 7, false)
	m.mayRenew = nil
	m.lead(6)
	try("in the next term, which has promised nothing", 7, false)
	m.lead(0)
	try("without leadership", 7, false)
	if m.confirmed != 1 || len(m.commands) > 0 {
		t.Errorf("%d confirmations, commands %+v: they wait", m.confirmed, m.commands)
	}
}

// TestLeadership: promises are those of the current leadership.
func TestLeadership(t *testing.T) {
	_, m := leased(t)
	m.renew(t, seven, 10)
	if term := m.r.Leadership(); term != 5 || m.r.Promises().Len() != 1 {
		t.Errorf("term %d with %d promises", term, m.r.Promises().Len())
	}
	m.lead(6)
	if term := m.r.Leadership(); term != 6 || m.r.Promises().Len() != 0 {
		t.Errorf("next term %d with %d promises", term, m.r.Promises().Len())
	}
	m.renew(t, seven, 10)
	m.lead(0)
	if term := m.r.Leadership(); term != 0 || m.r.Promises().Len() != 0 {
		t.Errorf("without leadership: term %d with %d promises", term, m.r.Promises().Len())
	}
}

// TestDeadline: a follower asks the leader for the promise if the deadline in the state is ahead of
// it, and otherwise shows at most a TTL from now.
func TestDeadline(t *testing.T) {
	s, leader := leased(t)
	follower := newRig(t.Context(), followerID, s)
	calls := 0
	connected := func() {
		follower.connect(leader)
		reach := follower.calls.call
		follower.calls.call = func(ctx context.Context, id uint64, path string, body []byte) ([]byte, error) {
			calls++
			return reach(ctx, id, path, body)
		}
	}
	connected()
	at := func(what string, want kv.ClusterTime, wantCalls int) {
		t.Helper()
		calls = 0
		l := s.get(7)
		// The follower's estimate of the cluster time is 1 s behind.
		if got := follower.r.Deadline(t.Context(), leader.At(nil)-second, &l); got != want || calls != wantCalls {
			t.Errorf("%s: ends at %v with %d calls, want %v with %d", what, got, calls, want, wantCalls)
		}
	}
	at("granted", 110*second, 0)
	leader.advance(2 * second) // 102 s
	leader.renew(t, seven, 10) // until 112 s
	leader.advance(second)     // 103 s
	at("renewed in memory", 102*second+9*second, 1)
	leader.lead(0)
	at("the leader has changed", 112*second, 1)
	leader.lead(5)
	leader.advance(20 * second) // 123 s
	at("the promise has passed", 122*second, 1)
	follower.calls.call = func(context.Context, uint64, string, []byte) ([]byte, error) { calls++; return []byte{1, 1}, nil }
	at("a malformed response", 132*second, 1)
	follower.leader = 0
	at("no leader", 132*second, 0)
	follower.leader = followerID
	at("it is the leader itself, and does not know yet", 132*second, 0)
}
