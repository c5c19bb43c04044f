package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// patience is how long a test waits for an event; it is long, so that a slow machine causes no
// failure.
const patience = 60 * time.Second

const testCluster = 0xc1

// node is a transport with its peer port.
type node struct {
	*Transport
	*recorder
	url    string
	server *http.Server
	log    *logBuffer
}

// recorder is a Handler that passes on its calls.
type recorder struct {
	messages    chan *raftpb.Message
	receive     func(ctx context.Context, m *raftpb.Message) // instead of messages
	unreachable chan uint64
	sent        chan bool
	removals    chan struct{}
	snapshot    func(ctx context.Context, m *raftpb.Message, size int64, r io.Reader) error
}

func newRecorder() *recorder {
	return &recorder{
		messages: make(chan *raftpb.Message, 100000), unreachable: make(chan uint64, 1000), sent: make(chan bool, 10),
		removals: make(chan struct{}, 10),
	}
}

func (r *recorder) Receive(ctx context.Context, m *raftpb.Message) {
	if r.receive != nil {
		r.receive(ctx, m)
		return
	}
	r.messages <- m
}

func (r *recorder) Unreachable(id uint64) {
	select {
	case r.unreachable <- id:
	default:
	}
}

func (r *recorder) ReceiveSnapshot(ctx context.Context, m *raftpb.Message, size int64, src io.Reader) error {
	return r.snapshot(ctx, m, size, src)
}
func (r *recorder) SnapshotSent(_ uint64, ok bool) { r.sent <- ok }
func (r *recorder) RemovedFromCluster()            { r.removals <- struct{}{} }

// logBuffer is a log that a test reads.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// count returns how many lines have all the texts.
func (l *logBuffer) count(texts ...string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
lines:
	for _, line := range strings.Split(l.b.String(), "\n") {
		for _, text := range texts {
			if !strings.Contains(line, text) {
				continue lines
			}
		}
		n++
	}
	return n
}

// quick are limits with which connections fail and reconnect in very short time.
func quick() Limits {
	return Limits{BackoffMin: time.Millisecond, BackoffMax: 20 * time.Millisecond, PingInterval: 20 * time.Millisecond, DeadAfter: 10 * time.Second}
}

// nodes are running nodes. Each accepts the others as members of its cluster.
var nodes struct {
	sync.Mutex
	all map[*node]bool
}

// accept makes n accept another node as a member, with its URL.
func (n *node) accept(other *node) {
	i := &n.identities
	i.lookup.Lock()
	defer i.lookup.Unlock()
	if i.found == nil {
		i.found = map[uint64][]string{}
	}
	i.found[other.cfg.MemberID] = []string{other.url}
	i.lookedUp = time.Now().Add(time.Hour)
}

func (n *node) join() {
	nodes.Lock()
	defer nodes.Unlock()
	if nodes.all == nil {
		nodes.all = map[*node]bool{}
	}
	for other := range nodes.all {
		other.accept(n)
		n.accept(other)
	}
	nodes.all[n] = true
}

func (n *node) leave() {
	nodes.Lock()
	defer nodes.Unlock()
	delete(nodes.all, n)
}

func startNode(t testing.TB, id uint64, change func(*Config)) *node {
	return startNodeAt(t, "127.0.0.1:0", id, change)
}

func startNodeAt(t testing.TB, address string, id uint64, change func(*Config)) *node {
	t.Helper()
	n := &node{recorder: newRecorder(), log: &logBuffer{}}
	cfg := Config{
		MemberID: id, ClusterID: testCluster, Handler: n.recorder, Limits: quick(),
		Logger: slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelInfo})),
	}
	if change != nil {
		change(&cfg)
	}
	n.Transport = New(cfg)
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	n.url = "http://" + l.Addr().String()
	n.server = &http.Server{Handler: n.Transport, ReadHeaderTimeout: patience, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	n.Protect(n.server)
	go func() { _ = n.server.Serve(l) }()
	n.join()
	t.Cleanup(n.close)
	return n
}

// close closes the connections like the end of a process.
func (n *node) close() {
	n.leave()
	_ = n.server.Close()
	_ = n.Close()
}

func (n *node) peer() Peer { return Peer{n.cfg.MemberID, []string{n.url}} }

// introduce makes nodes each other's peers.
func introduce(nodes ...*node) {
	var all []Peer
	for _, n := range nodes {
		all = append(all, n.peer())
	}
	for _, n := range nodes {
		n.SetPeers(all)
	}
}

func message(typ raftpb.MessageType, from, to, index uint64) *raftpb.Message {
	return &raftpb.Message{Type: &typ, From: &from, To: &to, Index: &index, Term: proto.Uint64(1)}
}

func heartbeat(from, to, index uint64) *raftpb.Message {
	return message(raftpb.MessageType_MsgHeartbeat, from, to, index)
}

func appendOf(from, to, index uint64, size int) *raftpb.Message {
	m := message(raftpb.MessageType_MsgApp, from, to, index)
	m.Entries = []*raftpb.Entry{{Term: proto.Uint64(1), Index: proto.Uint64(index + 1), Data: bytes.Repeat([]byte{byte(index)}, size)}}
	return m
}

func await[T any](t testing.TB, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("%s did not come within %v", what, patience)
	}
	return v
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func (n *node) connectedTo(id uint64) bool {
	p := (*n.peers.Load())[id]
	for _, l := range []*lane{p.control, p.append} {
		l.mu.Lock()
		connected := l.link != nil
		l.mu.Unlock()
		if !connected {
			return false
		}
	}
	return true
}

func awaitConnected(t testing.TB, nodes ...*node) {
	t.Helper()
	for _, n := range nodes {
		for _, to := range nodes {
			if n != to {
				eventually(t, fmt.Sprintf("%d connected to %d", n.cfg.MemberID, to.cfg.MemberID), func() bool { return n.connectedTo(to.cfg.MemberID) })
			}
		}
	}
}

func TestMessagesOfALaneArriveInOrder(t *testing.T) {
	a, b, c := startNode(t, 1, nil), startNode(t, 2, nil), startNode(t, 3, nil)
	introduce(a, b, c)
	awaitConnected(t, a, b, c)
	const count = 2000
	for i := uint64(1); i <= count; i++ {
		a.Send([]*raftpb.Message{appendOf(1, 2, i, int(i%50)*200), heartbeat(1, 3, i), heartbeat(1, 2, i), appendOf(1, 3, i, 10)})
		c.Send([]*raftpb.Message{heartbeat(3, 2, i)})
		if i%100 == 0 { // the lanes have limits
			eventually(t, "the lanes are empty", func() bool { return a.waiting(2) == 0 && a.waiting(3) == 0 && c.waiting(2) == 0 })
		}
	}
	for n, want := range map[*node]int{b: 3 * count, c: 2 * count} {
		last := map[string]uint64{}
		for range want {
			m := await(t, "a message", n.messages)
			key := fmt.Sprint(m.GetType(), m.GetFrom())
			if m.GetIndex() != last[key]+1 {
				t.Fatalf("%s: %d after %d", key, m.GetIndex(), last[key])
			}
			last[key]++
			if m.GetType() == raftpb.MessageType_MsgApp {
				for _, x := range m.GetEntries()[0].GetData() {
					if x != byte(m.GetIndex()) {
						t.Fatalf("entry %d has byte %d", m.GetIndex(), x)
					}
				}
			}
		}
	}
	s := a.Stats()
	if len(s) != 2 || s[0].ID != 2 || s[0].SentMessages != 2*count || s[0].Dropped != 0 || !s[0].Active || s[0].SentBytes < 2*count*20 {
		t.Errorf("stats %+v", s)
	}
	if s := b.Stats(); s[0].ReceivedMessages != 2*count {
		t.Errorf("stats of the receiver %+v", s)
	}
	eventually(t, "a round trip was measured", func() bool { return a.Stats()[0].RoundTrip.Count > 0 })
}

// waiting returns how many messages to a peer are not written yet.
func (n *node) waiting(id uint64) int {
	total := 0
	p := (*n.peers.Load())[id]
	for _, l := range []*lane{p.control, p.append} {
		l.mu.Lock()
		total += l.waiting
		l.mu.Unlock()
	}
	return total
}

// The receiver's handler blocks the append lane until the heartbeat has arrived: this can succeed
// only with separate lanes.
func TestAppendsDoNotDelayHeartbeats(t *testing.T) {
	a, b := startNode(t, 1, nil), startNode(t, 2, nil)
	beats, appends, release := make(chan struct{}, 1), make(chan struct{}, 100), make(chan struct{})
	b.receive = func(ctx context.Context, m *raftpb.Message) {
		if m.GetType() == raftpb.MessageType_MsgHeartbeat {
			beats <- struct{}{}
			return
		}
		select {
		case <-release:
		case <-ctx.Done():
		}
		appends <- struct{}{}
	}
	introduce(a, b)
	awaitConnected(t, a, b)
	for i := range uint64(10) {
		a.Send([]*raftpb.Message{appendOf(1, 2, i, 4<<20)})
	}
	a.Send([]*raftpb.Message{heartbeat(1, 2, 1)})
	await(t, "the heartbeat", beats)
	close(release)
	for range 10 {
		await(t, "an append", appends)
	}
}

func TestMemoryIsBoundedWhenThePeerDoesNotRead(t *testing.T) {
	const bytesMax, messagesMax, size = 8 << 20, 100, 1 << 20
	a := startNode(t, 1, func(c *Config) { c.Limits.AppendBytes, c.Limits.AppendMessages = bytesMax, messagesMax })
	b := startNode(t, 2, nil)
	b.receive = func(ctx context.Context, _ *raftpb.Message) { <-ctx.Done() }
	introduce(a, b)
	awaitConnected(t, a, b)
	lane := (*a.peers.Load())[2].append
	for i := uint64(0); i < 200; i++ {
		a.Send([]*raftpb.Message{appendOf(1, 2, i, size)})
		lane.mu.Lock()
		bytes, waiting := lane.bytes, lane.waiting
		lane.mu.Unlock()
		if bytes > bytesMax || waiting > messagesMax {
			t.Fatalf("%d messages of %d bytes wait", waiting, bytes)
		}
	}
	if id := await(t, "the report of losses", a.unreachable); id != 2 {
		t.Errorf("%d is unreachable", id)
	}
	for range 2 * messagesMax {
		a.Send([]*raftpb.Message{appendOf(1, 2, 1, 1)})
	}
	lane.mu.Lock()
	defer lane.mu.Unlock()
	if lane.waiting > messagesMax || len(lane.queue) > messagesMax {
		t.Errorf("%d messages wait", lane.waiting)
	}
	if a.Stats()[0].Dropped == 0 {
		t.Error("no message was dropped")
	}
}

func TestReconnectAfterThePeerRestarts(t *testing.T) {
	a, b := startNode(t, 1, nil), startNode(t, 2, nil)
	introduce(a, b)
	awaitConnected(t, a, b)
	if a.ActiveSince(2).IsZero() {
		t.Error("not active")
	}
	address := strings.TrimPrefix(b.url, "http://")
	b.close()
	await(t, "the report that the peer is unreachable", a.unreachable)
	eventually(t, "the peer is inactive", func() bool { return a.ActiveSince(2).IsZero() && !a.connectedTo(2) })
	eventually(t, "the trouble is logged", func() bool { return a.log.count("cannot reach a peer") == 1 })
	eventually(t, "many attempts fail", func() bool { return a.Stats()[0].Failures > 10 })

	b2 := startNodeAt(t, address, 2, nil)
	introduce(a, b2)
	awaitConnected(t, a, b2)
	a.Send([]*raftpb.Message{heartbeat(1, 2, 7), appendOf(1, 2, 8, 100)})
	if sum := await(t, "a message", b2.messages).GetIndex() + await(t, "a message", b2.messages).GetIndex(); sum != 15 {
		t.Errorf("got messages whose indexes sum up to %d", sum)
	}
	if n := a.log.count("cannot reach a peer"); n != 1 {
		t.Errorf("the trouble was logged %d times", n)
	}
	if a.log.count("peer reached again") != 1 {
		t.Error("that it is over was not logged")
	}
}

// A message that is larger than the lane's limit must still be delivered, or raft would be stuck.
func TestOneMessageAlwaysFits(t *testing.T) {
	a, b := startNode(t, 1, func(c *Config) { c.Limits.AppendBytes = 1000 }), startNode(t, 2, nil)
	introduce(a, b)
	awaitConnected(t, a, b)
	a.Send([]*raftpb.Message{appendOf(1, 2, 1, 5<<20), appendOf(1, 2, 2, 10)})
	if m := await(t, "the message", b.messages); len(m.Entries[0].Data) != 5<<20 {
		t.Errorf("%d bytes", len(m.Entries[0].Data))
	}
	a.Send([]*raftpb.Message{{Type: raftpb.MessageType_MsgHeartbeat.Enum(), From: new(uint64), To: b.peerID(), Context: make([]byte, 2<<20)}})
	eventually(t, "a message that the receiver would refuse is dropped", func() bool { return a.Stats()[0].Dropped >= 1 && a.connectedTo(2) })
}

func (n *node) peerID() *uint64 { return &n.cfg.MemberID }

// The control lane keeps only the newest messages for a peer without a connection.
func TestMessagesForAnAbsentPeer(t *testing.T) {
	a := startNode(t, 1, nil)
	a.SetPeers([]Peer{{2, []string{"http://" + unusedAddress(t)}}})
	for i := range uint64(1000) {
		a.Send([]*raftpb.Message{heartbeat(1, 2, i)})
	}
	l := (*a.peers.Load())[2].control
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) != absentMessagesMax || l.waiting != absentMessagesMax || l.queue[absentMessagesMax-1].m.GetIndex() != 999 {
		t.Errorf("%d messages wait, of %d", len(l.queue), l.waiting)
	}
}

// A message from shortly before the peer started still arrives: an election need not wait for the
// next timeout.
func TestControlMessagesWaitForTheFirstConnection(t *testing.T) {
	a := startNode(t, 1, nil)
	b := startNode(t, 2, nil)
	eventually(t, "the message arrives", func() bool {
		a.SetPeers(nil)
		a.SetPeers([]Peer{b.peer()})
		a.Send([]*raftpb.Message{heartbeat(1, 2, 3)})
		select {
		case m := <-b.messages:
			return m.GetIndex() == 3
		case <-time.After(time.Second):
			return false // too slow for staleAfter
		}
	})
}

func TestOtherURLs(t *testing.T) {
	a, b := startNode(t, 1, nil), startNode(t, 2, nil)
	introduce(a, b)
	awaitConnected(t, a, b)
	moved := startNode(t, 2, nil) // the same member at another address
	dead := "http://" + unusedAddress(t)
	a.SetPeers([]Peer{{2, []string{dead, "ftp://nowhere", moved.url}}})
	eventually(t, "messages arrive at the new URL", func() bool {
		a.Send([]*raftpb.Message{heartbeat(1, 2, 1)})
		select {
		case <-moved.messages:
			return true
		default:
			return false
		}
	})
	if a.log.count("cannot use a peer URL", "ftp://nowhere") != 1 {
		t.Error("the URL that cannot be used was not logged")
	}
	a.SetPeers(nil)
	if len(a.Stats()) != 0 {
		t.Error("a peer is left")
	}
	a.Send([]*raftpb.Message{heartbeat(1, 2, 1)}) // to an unknown peer
}

func unusedAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func TestAnotherClusterIsRefusedAndLoggedOnce(t *testing.T) {
	a := startNode(t, 1, nil)
	b := startNode(t, 2, func(c *Config) { c.ClusterID = 0xc2 })
	a.SetPeers([]Peer{b.peer()})
	eventually(t, "many attempts fail", func() bool { return a.Stats()[0].Failures > 20 })
	if n := b.log.count("refused a peer", "cluster-mismatch", "00000000000000c1", "00000000000000c2"); n != 1 {
		t.Errorf("the refusal was logged %d times:\n%s", n, b.log.b.String())
	}
	// The sender does not learn the other cluster's ID.
	if n := a.log.count("cannot reach a peer", "cluster-mismatch"); n != 1 || a.log.count("00000000000000c2") > 0 {
		t.Errorf("the failure was logged %d times:\n%s", n, a.log.b.String())
	}
	a.Send([]*raftpb.Message{heartbeat(1, 2, 1)})
	if len(b.messages) != 0 {
		t.Error("a message of another cluster was received")
	}
}

func TestAWrongMemberIsRefused(t *testing.T) {
	a, b := startNode(t, 1, nil), startNode(t, 2, nil)
	a.SetPeers([]Peer{{3, []string{b.url}}})
	eventually(t, "it is logged", func() bool {
		return a.log.count("wrong-member", "0000000000000003") == 1 && b.log.count("wrong-member", "0000000000000002", "0000000000000003") == 1
	})
	a.SetPeers([]Peer{{3, []string{a.url}}})
	eventually(t, "our own address is noticed", func() bool { return a.log.count("refused a peer", "wrong-member") == 1 })
}

func TestARemovedMemberLearnsIt(t *testing.T) {
	var mu sync.Mutex
	gone := false
	a := startNode(t, 1, nil)
	b := startNode(t, 2, func(c *Config) {
		c.Removed = func(id uint64) bool {
			mu.Lock()
			defer mu.Unlock()
			return gone && id == 1
		}
	})
	introduce(a, b)
	awaitConnected(t, a, b)
	mu.Lock()
	gone = true
	mu.Unlock()
	b.SetPeers(nil)
	await(t, "the removal", a.removals)
	eventually(t, "it is logged", func() bool {
		return a.log.count("reason=removed") == 1 && b.log.count("reason=removed", "0000000000000001") == 1
	})
	failures := a.Stats()[0].Failures
	eventually(t, "more attempts fail", func() bool { return a.Stats()[0].Failures > failures+5 })
	if len(a.removals) != 0 {
		t.Error("RemovedFromCluster was called twice")
	}
	if _, err := a.Call(t.Context(), 2, "x", nil); !errors.Is(err, ErrNotSent) {
		t.Errorf("a call of a removed member: %v", err)
	}
}

// A peer that stops without closing its connections, as one behind a broken network does, is
// detected.
func TestASilentPeerIsNoticed(t *testing.T) {
	b := startNode(t, 2, nil)
	proxy := startProxy(t, b.url)
	a := startNode(t, 1, func(c *Config) { c.Limits.DeadAfter = 300 * time.Millisecond })
	a.SetPeers([]Peer{{2, []string{proxy.url}}})
	eventually(t, "connected", func() bool { return a.connectedTo(2) })
	proxy.freeze()
	await(t, "the report", a.unreachable)
	eventually(t, "it is logged", func() bool { return a.log.count("no sign of life") > 0 })
	proxy.thaw()
	eventually(t, "connected again", func() bool {
		a.Send([]*raftpb.Message{heartbeat(1, 2, 1)})
		return len(b.messages) > 0
	})
}

func TestCloseLeavesNoGoroutine(t *testing.T) {
	a, b, c := startNode(t, 1, nil), startNode(t, 2, nil), startNode(t, 3, nil)
	b.receive = func(ctx context.Context, _ *raftpb.Message) { <-ctx.Done() }
	b.snapshot = func(_ context.Context, _ *raftpb.Message, _ int64, r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return err
	}
	introduce(a, b, c)
	a.SetPeers([]Peer{b.peer(), c.peer(), {4, []string{"http://" + unusedAddress(t)}}})
	awaitConnected(t, b, c)
	eventually(t, "connected", func() bool { return a.connectedTo(2) })
	a.Send([]*raftpb.Message{heartbeat(1, 2, 1), appendOf(1, 2, 1, 1<<20)})
	r, w := io.Pipe()
	a.SendSnapshot(snapshotMessage(1, 2, 5), -1, r)
	if _, err := w.Write(make([]byte, 3*chunkBytesMax)); err != nil {
		t.Fatal(err)
	}
	_ = w.CloseWithError(errors.New("cut short"))
	for _, n := range []*node{a, b, c} {
		n.close()
	}
	a.SetPeers([]Peer{b.peer()}) // has no effect after Close
	eventually(t, "no goroutine is left", func() bool { return goroutines() == "" })
}

// goroutines returns the stacks that have this package's code in them, other than tests.
func goroutines() string {
	buf := make([]byte, 1<<22)
	var found []string
	for _, stack := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		for _, line := range strings.Split(stack, "\n") {
			if strings.HasPrefix(line, "\t") && strings.Contains(line, "/internal/peer/") && !strings.Contains(line, "_test.go") {
				found = append(found, stack)
				break
			}
		}
	}
	return strings.Join(found, "\n\n")
}
