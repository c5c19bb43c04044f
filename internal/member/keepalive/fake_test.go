package keepalive

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/machine"
	"cairn/internal/mvcc"
	"cairn/internal/peer"
	"cairn/internal/storage"
)

const second = kv.ClusterTime(time.Second)

// fakeState is the state that all members of a test have applied.
type fakeState struct {
	t       *testing.T
	keys    *mvcc.Store
	writer  *mvcc.Writer
	batch   *storage.Batch
	leading []*lease.Promises // of the members' renewers
}

func newFakeState(t *testing.T) *fakeState {
	t.Helper()
	db, err := storage.OpenState("state", storage.Options{FS: storage.NewCrashableFS(), MemTableBytes: 4 << 20, CacheBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := mvcc.Open(db, mvcc.FirstRevision, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &fakeState{t: t, keys: keys, writer: keys.NewWriter(), batch: db.NewBatch()}
	t.Cleanup(func() {
		if err := errors.Join(s.batch.Close(), db.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// apply applies a command as a member does: the promises are corrected before the state is
// readable.
func (s *fakeState) apply(at lease.Position, c *lease.Command) (lease.Lease, error) {
	s.batch.Reset()
	if err := s.writer.Begin(s.batch); err != nil {
		s.t.Fatal(err)
	}
	s.writer.Start()
	l, changes, refusal := lease.Apply(s.writer, at, c, nil)
	err := errors.Join(s.writer.End(), s.writer.Finish(), s.batch.Commit(false))
	if err != nil {
		s.t.Fatal(err)
	}
	readable := make([]func(), 0, len(s.leading))
	for _, p := range s.leading {
		readable = append(readable, p.Applied(changes, false))
	}
	s.writer.Publish()
	for _, f := range readable {
		f()
	}
	return l, refusal
}

// get returns a lease of the state.
func (s *fakeState) get(id kv.LeaseID) lease.Lease {
	s.t.Helper()
	l, ok, err := lease.Get(s.keys.Reading(), id)
	if !ok || err != nil {
		s.t.Fatalf("lease %d: %v, %v", id, ok, err)
	}
	return l
}

type fakeClock struct{ term uint64 }

func (c *fakeClock) Term() uint64        { return c.term }
func (*fakeClock) Start() kv.ClusterTime { return 0 }

// fakeMember is a Member whose role and time the test sets.
type fakeMember struct {
	state *fakeState

	mu        sync.Mutex // guards the fields below
	clock     *fakeClock // nil: it does not lead
	now       kv.ClusterTime
	leader    uint64
	atOnce    bool
	mayRenew  error
	confirm   func() error // called by WaitLinearizable
	confirmed int          // calls of WaitLinearizable
	propose   error        // refuses all commands
	commands  []lease.Command
	own       []lease.Command // commands of the cluster itself
	lost      bool            // commands of the cluster itself have no effect
}

func (m *fakeMember) Clock() Clock {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.clock == nil {
		return nil
	}
	return m.clock
}

func (m *fakeMember) At(Clock) kv.ClusterTime {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

func (m *fakeMember) Leader() uint64    { return m.leader }
func (m *fakeMember) ReadsAtOnce() bool { return m.atOnce }
func (m *fakeMember) MayRenew() error   { return m.mayRenew }

func (m *fakeMember) WaitLinearizable(context.Context) error {
	m.mu.Lock()
	m.confirmed++
	confirm := m.confirm
	m.mu.Unlock()
	if confirm == nil {
		return nil
	}
	return confirm()
}

// lead makes the member the leader of a term; 0 makes it a follower.
func (m *fakeMember) lead(term uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.clock = nil; term > 0 {
		m.clock = &fakeClock{term}
	}
}

func (m *fakeMember) advance(d kv.ClusterTime) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now += d
}

func (m *fakeMember) position() lease.Position {
	at := lease.Position{Time: m.now}
	if m.clock != nil {
		at.Term = m.clock.term
	}
	return at
}

func (m *fakeMember) Propose(_ context.Context, _ machine.Kind, payload []byte) (*machine.Result, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := lease.Decode(payload)
	m.commands = append(m.commands, c)
	if err = errors.Join(err, m.propose); err != nil {
		return nil, err
	}
	l, err := m.state.apply(m.position(), &c)
	if err != nil {
		return nil, err
	}
	return &machine.Result{Revision: m.state.keys.Head().Revision, Lease: l}, nil
}

func (m *fakeMember) ProposeOwn(_ context.Context, _ machine.Kind, payload []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, err := lease.Decode(payload)
	m.own = append(m.own, c)
	if err == nil && !m.lost {
		_, err = m.state.apply(m.position(), &c)
	}
	return err
}

// fakeCalls are calls between members, by their IDs.
type fakeCalls struct {
	handlers map[string]peer.CallHandler
	call     func(ctx context.Context, id uint64, path string, body []byte) ([]byte, error)
}

func (c *fakeCalls) Register(path string, h peer.CallHandler) { c.handlers[path] = h }

func (c *fakeCalls) Call(ctx context.Context, id uint64, path string, body []byte) ([]byte, error) {
	return c.call(ctx, id, path, body)
}

// rig is a member with its renewer.
type rig struct {
	*fakeMember
	calls *fakeCalls
	r     *Renewer
}

// The members of the tests.
const (
	leaderID   = 1
	followerID = 2
)

const callTimeout = 3 * time.Second

// newRig returns a member that follows leaderID and cannot call it. A nil state is enough while
// nothing is read or proposed.
func newRig(ctx context.Context, id uint64, state *fakeState) *rig {
	m := &rig{fakeMember: &fakeMember{state: state, now: 100 * second, leader: leaderID}, calls: &fakeCalls{handlers: map[string]peer.CallHandler{}}}
	m.calls.call = func(context.Context, uint64, string, []byte) ([]byte, error) { return nil, errors.New("not connected") }
	o := Options{ID: id, Member: m, Calls: m.calls, CallTimeout: callTimeout, Running: ctx}
	if state != nil {
		o.Keys = state.keys
	}
	m.r = New(o)
	if state != nil {
		state.leading = append(state.leading, m.r.Promises())
	}
	return m
}

// connect makes the calls of a member reach another one.
func (m *rig) connect(to *rig) {
	m.calls.call = func(ctx context.Context, id uint64, path string, body []byte) ([]byte, error) {
		if id != leaderID {
			return nil, errors.New("not the leader")
		}
		return to.calls.handlers[path](ctx, followerID, body)
	}
}

// leased returns a state with lease 7 of 10 s, granted at 100 s, and a member that leads term 5.
func leased(t *testing.T) (*fakeState, *rig) {
	t.Helper()
	s := newFakeState(t)
	if _, err := s.apply(lease.Position{Time: 100 * second, Term: 5}, &lease.Command{Kind: lease.KindGrant, ID: 7, TTL: 10}); err != nil {
		t.Fatal(err)
	}
	m := newRig(t.Context(), leaderID, s)
	m.lead(5)
	return s, m
}

// renew renews leases and compares the TTLs.
func (m *rig) renew(t *testing.T, ids []kv.LeaseID, want ...int64) {
	t.Helper()
	ttls := make([]int64, len(ids))
	revision, err := m.r.RenewLeases(t.Context(), ids, ttls)
	if err != nil || revision < 1 {
		t.Fatalf("renewal: revision %d, %v", revision, err)
	}
	for i := range want {
		if ttls[i] != want[i] {
			t.Errorf("renewal of %v: TTLs %v, want %v", ids, ttls, want)
			return
		}
	}
}
