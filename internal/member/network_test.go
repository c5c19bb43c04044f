package member

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"sync"
	"testing"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"cairn/internal/membership"
	"cairn/internal/peer"
	"cairn/internal/storage"
)

// network connects members of one process. Messages are copied, as by a real network.
type network struct {
	mu       sync.Mutex
	handlers map[uint64]*link
	cut      map[uint64]bool // disconnected members
	silent   map[uint64]bool // members that are connected, but whose messages are lost
	// holding makes forwarded proposals wait in held.
	holding bool
	held    []*raftpb.Message
}

// link is the Transport of one member: a queue and a goroutine that delivers to it, so that a
// sender never waits.
type link struct {
	n     *network
	id    uint64
	m     *Member
	h     peer.Handler
	calls map[string]peer.CallHandler
	in    chan *raftpb.Message
	done  chan struct{}
	wg    sync.WaitGroup
	peers map[uint64]time.Time
}

func newNetwork() *network {
	return &network{handlers: map[uint64]*link{}, cut: map[uint64]bool{}, silent: map[uint64]bool{}}
}

func (n *network) connect(id uint64) func(*Member, peer.Handler) (Transport, Calls) {
	return func(m *Member, h peer.Handler) (Transport, Calls) {
		l := &link{n: n, id: id, m: m, h: h, calls: map[string]peer.CallHandler{}, in: make(chan *raftpb.Message, 4096), done: make(chan struct{})}
		l.wg.Go(func() {
			for {
				select {
				case m := <-l.in:
					h.Receive(context.Background(), m)
				case <-l.done:
					return
				}
			}
		})
		n.mu.Lock()
		defer n.mu.Unlock()
		n.handlers[id] = l
		return l, l
	}
}

func (n *network) setCut(id uint64, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[id] = cut
}

func (n *network) setSilent(id uint64, silent bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.silent[id] = silent
}

// holdProposals makes forwarded proposals wait until pass.
func (n *network) holdProposals() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.holding = true
}

// holds keeps a message if it is one that waits.
func (n *network) holds(m *raftpb.Message) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.holding || m.GetType() != raftpb.MsgProp {
		return false
	}
	n.held = append(n.held, proto.Clone(m).(*raftpb.Message))
	return true
}

// heldCount returns how many messages wait.
func (n *network) heldCount() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.held)
}

// pass lets forwarded proposals pass again; those that wait are returned.
func (n *network) pass() (held []*raftpb.Message) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.holding = false
	held, n.held = n.held, nil
	return held
}

// loses reports whether a message from one member to another is lost.
func (n *network) loses(from, to uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.silent[from] || n.silent[to]
}

// to returns the destination of messages from one member to another, or nil.
func (n *network) to(from, to uint64) *link {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut[from] || n.cut[to] {
		return nil
	}
	return n.handlers[to]
}

func (l *link) Send(msgs []*raftpb.Message) {
	for _, m := range msgs {
		to := l.n.to(l.id, m.GetTo())
		if to == nil || l.n.loses(l.id, m.GetTo()) || l.n.holds(m) {
			continue
		}
		if to.m.WasRemoved(l.id) {
			go l.h.RemovedFromCluster()
			continue
		}
		select {
		case to.in <- proto.Clone(m).(*raftpb.Message):
		default: // lost
		}
	}
}

func (l *link) SetPeers(peers []peer.Peer) {
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	l.peers = map[uint64]time.Time{}
	for _, p := range peers {
		l.peers[p.ID] = time.Now().Add(-time.Minute)
	}
}

func (l *link) ActiveSince(id uint64) time.Time {
	if l.n.to(l.id, id) == nil {
		return time.Time{}
	}
	l.n.mu.Lock()
	defer l.n.mu.Unlock()
	return l.peers[id]
}

func (l *link) Register(path string, h peer.CallHandler) { l.calls[path] = h }

func (l *link) Call(ctx context.Context, id uint64, path string, body []byte) ([]byte, error) {
	if to := l.n.to(l.id, id); to != nil {
		return to.calls[path](ctx, l.id, body)
	}
	return nil, peer.ErrNotSent
}

func (l *link) SendSnapshot(m *raftpb.Message, _ int64, r io.ReadCloser) {
	_ = r.Close()
	go l.h.SnapshotSent(m.GetTo(), false)
}

func (l *link) Stats() []peer.Stats { return nil }

func (l *link) Close() error {
	l.n.mu.Lock()
	delete(l.n.handlers, l.id)
	l.n.mu.Unlock()
	close(l.done)
	l.wg.Wait()
	return nil
}

// trio is a cluster of three members, 1 to 3.
type trio struct {
	t       *testing.T
	net     *network
	members map[uint64]*Member
	disks   map[uint64]*disk
}

func clusterConfig(fs storage.FS, n *network, id uint64) Config {
	return Config{
		Dir: "member", FS: fs, ID: id, TickInterval: 20 * time.Millisecond, ElectionTicks: 10,
		SnapshotCount: 1000, CatchUpEntries: 5000, RequestBytesMax: 1 << 20, LearnersMax: 1,
		RaftLogger: &raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)},
		Transport:  n.connect(id),
	}
}

func startTrio(t *testing.T, change ...func(*Config)) *trio {
	c := &trio{t: t, net: newNetwork(), members: map[uint64]*Member{}, disks: map[uint64]*disk{}}
	var founders []membership.Member
	for id := uint64(1); id <= 3; id++ {
		founders = append(founders, membership.Member{ID: id, PeerURLs: []string{fmt.Sprintf("http://127.0.0.1:%d", id)}})
	}
	for id := uint64(1); id <= 3; id++ {
		fs := &disk{CrashableFS: storage.NewCrashableFS()}
		if err := Initialize(fs, "member", founders); err != nil {
			t.Fatal(err)
		}
		c.disks[id] = fs
		cfg := clusterConfig(fs, c.net, id)
		for _, set := range change {
			set(&cfg)
		}
		m, err := Start(cfg)
		if err != nil {
			t.Fatal(err)
		}
		c.members[id] = m
	}
	t.Cleanup(func() {
		for _, m := range c.members {
			closeMember(t, m)
		}
	})
	for _, m := range c.members {
		<-m.Ready()
	}
	return c
}

// leader returns the member that all connected members consider the leader.
func (c *trio) leader() *Member {
	c.t.Helper()
	return c.leaderOf(1, 2, 3)
}

// others returns the IDs of all members except one.
func (c *trio) others(except uint64) (ids []uint64) {
	for id := range c.members {
		if id != except {
			ids = append(ids, id)
		}
	}
	return ids
}

func (c *trio) leaderOf(ids ...uint64) (leader *Member) {
	c.t.Helper()
	await(c.t, "a leader", func() bool {
		leader = c.members[c.members[ids[0]].Leader()]
		for _, id := range ids {
			if leader == nil || c.members[id].Leader() != leader.ID() {
				return false
			}
		}
		return leader.leads.Load()
	})
	return leader
}

// follower returns a member that is not the leader.
func (c *trio) follower() *Member {
	leader := c.leader()
	return c.members[leader.ID()%3+1]
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited 30 s for %s", what)
		}
	}
}

// readFrom is a linearizable read.
func readFrom(t *testing.T, m *Member, key string) string {
	t.Helper()
	if err := m.WaitLinearizable(context.Background()); err != nil {
		t.Fatalf("read %s on %x: %v", key, m.ID(), err)
	}
	return valueOn(t, m, key)
}

func valueOn(t *testing.T, m *Member, key string) string {
	t.Helper()
	r, ok, err := m.Keys().Reading().Get([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return ""
	}
	return string(r.Value)
}

// putUntilTaken repeats a put until a leader accepts it.
func putUntilTaken(t *testing.T, m *Member, key, value string) {
	t.Helper()
	await(t, "a put", func() bool {
		_, err := put(m, key, value)
		if err != nil && !errors.Is(err, ErrLeaderChanged) && !errors.Is(err, ErrTimeout) {
			t.Fatal(err)
		}
		return err == nil
	})
}
