package hostile

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"cairn/internal/auth"
	"cairn/internal/machine"
	"cairn/internal/membership"
	"cairn/test/fleet"
	"cairn/test/harness"
)

// cluster is three members under attack through their peer ports. Authentication is on.
type cluster struct {
	*fleet.Fleet
	t    *testing.T
	ctx  context.Context
	root *clientv3.Client
	id   uint64
	pids map[string]int
}

// clusterMax bounds a test with a cluster; it is far above what it takes.
const clusterMax = 3 * time.Minute

func startCluster(t *testing.T) *cluster {
	t.Helper()
	if harness.Reference(t) != "" {
		t.Skip("another etcd has another peer protocol")
	}
	ctx, cancel := context.WithTimeout(context.Background(), clusterMax)
	t.Cleanup(cancel)
	c := &cluster{Fleet: fleet.New(fleet.Config{Program: harness.Etcd(t), Dir: t.TempDir(), Flags: []string{"--bcrypt-cost=4"}}), t: t, ctx: ctx, pids: map[string]int{}}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			for _, m := range c.Members() {
				text := m.Log()
				t.Logf("end of the log of %s:\n%s", m.Name, text[max(0, len(text)-4000):])
			}
		}
	})
	c.must(c.Bootstrap(ctx, 3))
	admin, err := c.Connect(c.Members()...)
	c.must(err)
	_, err = admin.UserAdd(ctx, "root", "secret")
	c.must(err)
	_, err = admin.RoleAdd(ctx, "root")
	c.must(err)
	_, err = admin.UserGrantRole(ctx, "root", "root")
	c.must(err)
	_, err = admin.AuthEnable(ctx)
	c.must(err)
	c.must(admin.Close())
	c.Authenticate("root", "secret")
	c.root, err = c.Connect(c.Members()...)
	c.must(err)
	t.Cleanup(func() { _ = c.root.Close() })
	put, err := c.root.Put(ctx, "/kept", "v")
	c.must(err)
	c.id = put.Header.ClusterId
	for _, m := range c.Members() {
		c.pids[m.Name] = m.PID()
	}
	return c
}

func (c *cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// state is what no attack may change.
type state struct {
	revision     int64
	term, leader uint64
	members      int
}

func (c *cluster) state() state {
	c.t.Helper()
	got, err := c.root.Get(c.ctx, "/kept")
	c.must(err)
	list, err := c.root.MemberList(c.ctx)
	c.must(err)
	status, err := c.Status(c.ctx, c.Members()[0])
	c.must(err)
	if len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "v" {
		c.t.Fatalf("/kept is %v", got.Kvs)
	}
	return state{got.Header.Revision, status.RaftTerm, status.Leader, len(list.Members)}
}

// unharmed checks after an attack that every member runs, serves, and asks for credentials, and
// that nothing has changed.
func (c *cluster) unharmed(t *testing.T, before state) {
	t.Helper()
	for _, m := range c.Members() {
		if m.PID() != c.pids[m.Name] {
			t.Fatalf("%s has ended", m.Name)
		}
		if err := m.AwaitHealthy(c.ctx); err != nil {
			t.Fatal(err)
		}
		guest, err := clientv3.New(clientv3.Config{Endpoints: []string{m.ClientURL()}, Logger: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := guest.Get(c.ctx, "/kept"); err == nil {
			t.Errorf("%s answers without credentials", m.Name)
		}
		_ = guest.Close()
	}
	if after := c.state(); after != before {
		t.Errorf("the cluster was %+v, and is %+v", before, after)
	}
}

// frame returns a frame of docs/formats/peer.md.
func frame(kind byte, payload []byte) []byte {
	body := append([]byte{kind}, payload...)
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	return append(binary.BigEndian.AppendUint32(b, crc32.Checksum(body, crc32.MakeTable(crc32.Castagnoli))), body...)
}

// message returns the frame of a raft message.
func message(m *raftpb.Message) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return frame(1, b)
}

// entry returns what a follower forwards to have a command proposed.
func entry(origin uint64, kind machine.Kind, payload []byte) *raftpb.Entry {
	return &raftpb.Entry{
		Type: raftpb.EntryType_EntryNormal.Enum(), Data: machine.AppendCommand(machine.Header{Time: 1, Origin: origin, Batch: 9}.Append(nil), kind, payload),
	}
}

// forgeries are messages in the name of a member, each of which once took a member or the cluster
// down, or gave it away. With outsider they also are those that members may send, such as a
// proposal.
func forgeries(from, to, term uint64, outsider bool) map[string][]byte {
	say := func(kind raftpb.MessageType, change func(m *raftpb.Message)) []byte {
		m := &raftpb.Message{Type: kind.Enum(), From: &from, To: &to, Term: &term}
		if kind == raftpb.MsgProp {
			m.Term = nil
		}
		change(m)
		return message(m)
	}
	propose := func(e ...*raftpb.Entry) []byte {
		return say(raftpb.MsgProp, func(m *raftpb.Message) { m.Entries = e })
	}
	all := map[string][]byte{
		"heartbeat with commit 2^50":        say(raftpb.MsgHeartbeat, func(m *raftpb.Message) { m.Commit = proto.Uint64(1 << 50) }),
		"heartbeat of term 2^64-1":          say(raftpb.MsgHeartbeat, func(m *raftpb.Message) { m.Term = proto.Uint64(math.MaxUint64) }),
		"heartbeat of term 2^62":            say(raftpb.MsgHeartbeat, func(m *raftpb.Message) { m.Term = proto.Uint64(1 << 62) }),
		"heartbeat of an unknown member":    say(raftpb.MsgHeartbeat, func(m *raftpb.Message) { m.From, m.Commit = proto.Uint64(77), proto.Uint64(1<<50) }),
		"response from beyond the log":      say(raftpb.MsgAppResp, func(m *raftpb.Message) { m.Index = proto.Uint64(1 << 50) }),
		"a message of an unknown type":      say(raftpb.MessageType(99), func(*raftpb.Message) {}),
		"a message that is local to raft":   say(raftpb.MsgHup, func(*raftpb.Message) {}),
		"vote of term 2^64-1":               say(raftpb.MsgVote, func(m *raftpb.Message) { m.Term = proto.Uint64(math.MaxUint64) }),
		"a snapshot outside of a transfer":  say(raftpb.MsgSnap, func(m *raftpb.Message) { m.Snapshot = &raftpb.Snapshot{} }),
		"garbage proposal":                  propose(&raftpb.Entry{Data: []byte("garbage")}),
		"proposal of an unknown kind":       propose(entry(from, 99, nil)),
		"garbage configuration change":      propose(&raftpb.Entry{Type: raftpb.EntryType_EntryConfChangeV2.Enum(), Data: []byte{8}}),
		"old configuration change":          propose(&raftpb.Entry{Type: raftpb.EntryType_EntryConfChange.Enum(), Data: []byte{8, 1}}),
		"proposal in another's name":        propose(entry(to, machine.KindAutoCompact, machine.AppendCompact(nil, 1))),
		"authentication off, by no user":    propose(entry(from, machine.KindAuth, (&auth.Command{Kind: auth.KindDisable}).Append(nil))),
		"a member removed without a change": propose(entry(from, machine.KindMembership, (&membership.Command{Kind: membership.KindRemove, ID: to}).Append(nil))),
		"garbage frame":                     frame(1, []byte("\xff\xff\xff\xff garbage")), "frame of an unknown kind": frame(99, []byte("x")),
		"frame without end": {0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 1}, "empty frame": {0, 0, 0, 0, 0, 0, 0, 0},
		"frame with a wrong checksum": {0, 0, 0, 2, 0, 0, 0, 0, 1, 1},
	}
	if outsider {
		removal := membership.Command{Kind: membership.KindRemove, ID: to}
		change := machine.NewChange(&removal)
		change.Context = entry(from, machine.KindMembership, removal.Append(nil)).Data
		data, err := proto.Marshal(change)
		if err != nil {
			panic(err)
		}
		all["a member removed"] = propose(&raftpb.Entry{Type: raftpb.EntryType_EntryConfChangeV2.Enum(), Data: data})
		all["heartbeat of a later term"] = say(raftpb.MsgHeartbeat, func(m *raftpb.Message) { m.Term = proto.Uint64(term + 1000) })
		all["compaction"] = propose(entry(from, machine.KindAutoCompact, machine.AppendCompact(nil, 1)))
	}
	return all
}

// handshake asks a member for a stream, and returns the connection and the answer.
func handshake(ctx context.Context, address string, header map[string]string) (net.Conn, *http.Response, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	head := "GET /cairn/peer/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: cairn-peer\r\nCairn-Peer-Versions: 1\r\n"
	for _, name := range slices.Sorted(maps.Keys(header)) {
		head += name + ": " + header[name] + "\r\n"
	}
	if _, err = io.WriteString(conn, head+"\r\n"); err != nil {
		return conn, nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	return conn, resp, err
}

// TestOutsider: a process that reaches the peer port, and knows every ID and the protocol, is no
// member.
func TestOutsider(t *testing.T) {
	c := startCluster(t)
	before := c.state()
	victim, other := c.Members()[0], c.Members()[1]
	text := func(id uint64) string { return fmt.Sprintf("%016x", id) }
	// What it can know: /members names all of them.
	resp, err := http.Get("http://" + victim.PeerAddress() + "/members")
	c.must(err)
	var listed []struct{ ID uint64 }
	c.must(json.NewDecoder(resp.Body).Decode(&listed))
	_ = resp.Body.Close()
	if len(listed) != 3 || resp.Header.Get("X-Etcd-Cluster-ID") != fmt.Sprintf("%x", c.id) {
		t.Fatalf("/members: %v %v", listed, resp.Header)
	}
	right := map[string]string{
		"X-Etcd-Cluster-Id": text(c.id), "Cairn-From": text(other.ID()), "Cairn-To": text(victim.ID()),
		"Cairn-Lane": "append", "Cairn-Token": strings.Repeat("ab", 32),
	}
	with := func(change map[string]string) map[string]string {
		h := maps.Clone(right)
		maps.Copy(h, change)
		return h
	}
	t.Run("handshakes", func(t *testing.T) {
		for name, header := range map[string]map[string]string{
			"with all IDs":                right,
			"without a token":             with(map[string]string{"Cairn-Token": ""}),
			"as an unknown member":        with(map[string]string{"Cairn-From": text(77)}),
			"in its own name":             with(map[string]string{"Cairn-From": text(victim.ID())}),
			"of another cluster":          with(map[string]string{"X-Etcd-Cluster-Id": text(1)}),
			"for another member":          with(map[string]string{"Cairn-To": text(other.ID())}),
			"with a hash for a token":     with(map[string]string{"Cairn-Token": strings.Repeat("0", 64)}),
			"with an endless token":       with(map[string]string{"Cairn-Token": strings.Repeat("a", 60<<10)}),
			"for a snapshot":              with(map[string]string{"Cairn-Lane": "snapshot", "Cairn-Snapshot": "1", "Cairn-Snapshot-Offset": "0"}),
			"from a garbage ID":           with(map[string]string{"Cairn-From": "-1"}),
			"with an offset beyond bound": with(map[string]string{"Cairn-Lane": "snapshot", "Cairn-Snapshot": "1", "Cairn-Snapshot-Offset": "18446744073709551616"}),
		} {
			for range size(2, 50) {
				conn, resp, err := handshake(c.ctx, victim.PeerAddress(), header)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				body, _ := io.ReadAll(resp.Body)
				_ = conn.Close()
				if resp.StatusCode < 400 {
					t.Errorf("%s: %s", name, resp.Status)
				}
				for _, m := range c.Members() { // a refusal names nothing
					if strings.Contains(string(body), text(m.ID())) || strings.Contains(string(body), text(c.id)) || resp.Header.Get("Cairn-From") != "" {
						t.Errorf("%s: the refusal tells %s %v", name, body, resp.Header)
					}
				}
			}
		}
		c.unharmed(t, before)
	})
	t.Run("forged messages", func(t *testing.T) {
		for name, forged := range forgeries(other.ID(), victim.ID(), before.term, true) {
			for _, m := range c.Members() {
				conn, resp, err := handshake(c.ctx, m.PeerAddress(), with(map[string]string{"Cairn-To": text(m.ID())}))
				if err != nil {
					t.Fatal(err)
				}
				_, _ = conn.Write(forged) // it was refused; perhaps the member reads on
				_ = conn.Close()
				if resp.StatusCode < 400 {
					t.Errorf("%s: the stream was answered %s", name, resp.Status)
				}
			}
		}
		c.unharmed(t, before)
	})
	t.Run("a replayed challenge", func(t *testing.T) {
		// The outsider makes the victim ask the other member for a token, and answers in its place
		// with what it has sent itself: as a token, and as the hash of one.
		for _, hash := range []string{right["Cairn-Token"], strings.Repeat("0", 64)} {
			req, err := http.NewRequestWithContext(c.ctx, http.MethodGet, "http://"+other.PeerAddress()+"/cairn/peer/confirm", nil)
			c.must(err)
			for name, value := range map[string]string{"X-Etcd-Cluster-Id": text(c.id), "Cairn-From": text(victim.ID()), "Cairn-To": text(other.ID()), "Cairn-Token-Hash": hash} {
				req.Header.Set(name, value)
			}
			resp, err := http.DefaultClient.Do(req)
			c.must(err)
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusForbidden {
				t.Errorf("a token of an outsider is confirmed with %s", resp.Status)
			}
		}
		c.unharmed(t, before)
	})
	t.Run("calls", func(t *testing.T) {
		for _, path := range []string{"member/hashkv", "member/learner-ready", "x"} {
			req, err := http.NewRequestWithContext(c.ctx, http.MethodPost, "http://"+victim.PeerAddress()+"/cairn/peer/call/"+path, strings.NewReader("garbage"))
			c.must(err)
			for name, value := range right {
				req.Header.Set(name, value)
			}
			req.Header.Set("Cairn-Peer-Versions", "1")
			resp, err := http.DefaultClient.Do(req)
			c.must(err)
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusForbidden {
				t.Errorf("%s: %s", path, resp.Status)
			}
		}
		c.unharmed(t, before)
	})
	t.Run("garbage and held connections", func(t *testing.T) {
		for _, garbage := range []string{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", strings.Repeat("\x00", 5000), "GET / HTTP/1.1\r\n" + strings.Repeat("a: b\r\n", 100_000)} {
			conn, err := net.Dial("tcp", victim.PeerAddress())
			c.must(err)
			_, _ = io.WriteString(conn, garbage)
			_ = conn.Close()
		}
		var held []net.Conn
		for range size(400, 4000) {
			conn, err := net.Dial("tcp", victim.PeerAddress())
			c.must(err)
			held = append(held, conn)
		}
		// A member that has to connect again finds its way between them.
		c.must(other.Kill())
		c.must(other.Start())
		c.must(other.AwaitHealthy(c.ctx))
		c.pids[other.Name] = other.PID()
		for _, conn := range held {
			_ = conn.Close()
		}
		now := c.state()
		before.term, before.leader = now.term, now.leader // the restart may have moved it
		c.unharmed(t, before)
	})
}

// TestHostileMember: a member may do much (docs/security.md), but it brings down no other one, and
// does not act as another member.
func TestHostileMember(t *testing.T) {
	c := startCluster(t)
	confirms := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/cairn/peer/confirm" {
			http.Error(w, "{}", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer confirms.Close()
	var id uint64
	harness.Await(t, "the learner to be added", func() bool {
		added, err := c.root.MemberAddAsLearner(c.ctx, []string{confirms.URL})
		if err == nil {
			id = added.Member.ID
		}
		return err == nil
	})
	before := c.state()
	open := func(m *fleet.Member, lane string) net.Conn {
		conn, resp, err := handshake(c.ctx, m.PeerAddress(), map[string]string{
			"X-Etcd-Cluster-Id": fmt.Sprintf("%016x", c.id), "Cairn-From": fmt.Sprintf("%016x", id), "Cairn-To": fmt.Sprintf("%016x", m.ID()),
			"Cairn-Lane": lane, "Cairn-Token": strings.Repeat("cd", 32),
		})
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("the member is not accepted: %s", resp.Status)
		}
		return conn
	}
	// Each member must get what was sent before the next attack: a ping is answered behind it,
	// unless the stream was closed.
	taken := func(conn net.Conn) {
		_, _ = conn.Write(frame(2, make([]byte, 8)))
		_, _ = io.Copy(io.Discard, io.LimitReader(conn, 17))
	}
	for name, forged := range forgeries(id, 0, before.term, false) {
		for _, m := range c.Members() {
			for _, lane := range []string{"append", "control"} {
				forged = forgeries(id, m.ID(), before.term, false)[name]
				conn := open(m, lane)
				_, _ = conn.Write(forged)
				taken(conn)
				_ = conn.Close()
			}
		}
		for _, m := range c.Members() {
			if m.PID() != c.pids[m.Name] {
				t.Fatalf("%s: %s has ended", name, m.Name)
			}
		}
	}
	c.unharmed(t, before)
}
