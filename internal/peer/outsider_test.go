package peer

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"go.etcd.io/raft/v3/raftpb"
)

// ask requests a stream as an outsider, and returns the response.
func ask(t *testing.T, at string, header map[string]string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at+pathStream, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", upgradeProtocol)
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // read
	body := ""
	if resp.StatusCode != http.StatusSwitchingProtocols {
		b, _ := io.ReadAll(resp.Body)
		body = string(b)
	}
	return resp, body
}

// TestOutsiders: a process that knows all IDs but cannot be reached at a member's URL gets no
// stream and no call, and no information.
func TestOutsiders(t *testing.T) {
	a, b := startNode(t, 1, nil), startNode(t, 2, nil)
	introduce(a, b)
	awaitConnected(t, a, b)
	called := false
	b.Register("do", func(context.Context, uint64, []byte) ([]byte, error) { called = true; return nil, nil })
	for name, change := range map[string]map[string]string{
		"no token":              {},
		"a new token":           {headerToken: strings.Repeat("ab", tokenBytes)},
		"in a stranger's name":  {headerFrom: "7", headerToken: strings.Repeat("ab", tokenBytes)},
		"the token for another": {headerToken: a.identities.token(3)},
	} {
		header := map[string]string{headerVersions: "1", headerCluster: "c1", headerFrom: "1", headerTo: "2", headerLane: laneControl}
		for k, v := range change {
			header[k] = v
		}
		resp, body := ask(t, b.url, header)
		want := `{"code":"not-confirmed","message":"the sender is not confirmed as a member"}`
		if resp.StatusCode != http.StatusForbidden || body != want || resp.Header.Get(headerFrom) != "" || resp.Header.Get(headerCluster) != "" {
			t.Errorf("%s: %s, %s, %v", name, resp.Status, body, resp.Header)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+pathCall+"do", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range header {
			req.Header.Set(k, v)
		}
		resp, err = http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden || called {
			t.Errorf("%s: response to a call: %s, executed: %t", name, resp.Status, called)
		}
	}
	if !a.connectedTo(2) || !b.connectedTo(1) {
		t.Error("the members are no longer connected")
	}
	if _, err := a.Call(t.Context(), 2, "do", nil); err != nil || !called {
		t.Errorf("a member's call: %v", err)
	}
}

// TestOlderMember: a member of version 0.1.0, which does not confirm, is accepted while it runs at
// its URL, and no longer once it has been upgraded.
func TestOlderMember(t *testing.T) {
	older := httptest.NewServer(http.HandlerFunc(http.NotFound))
	defer older.Close()
	b := startNode(t, 2, nil)
	b.SetPeers([]Peer{{1, []string{older.URL}}})
	header := map[string]string{headerVersions: "1", headerCluster: "c1", headerFrom: "1", headerTo: "2", headerLane: laneControl}
	if resp, body := ask(t, b.url, header); resp.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("an older member: %s, %s", resp.Status, body)
	}
	upgraded := startNode(t, 1, nil)
	b.SetPeers([]Peer{upgraded.peer()})
	if resp, body := ask(t, b.url, header); resp.StatusCode != http.StatusForbidden {
		t.Errorf("in the name of an upgraded member: %s, %s", resp.Status, body)
	}
}

// TestNewMemberIsLookedUp: a member that was away learns about a new member from the members in its
// list.
func TestNewMemberIsLookedUp(t *testing.T) {
	a, c := startNode(t, 1, nil), startNode(t, 3, nil)
	b := startNode(t, 2, nil)
	b.identities.lookup.Lock()
	b.identities.found, b.identities.lookedUp = nil, time.Time{}
	b.identities.lookup.Unlock()
	members := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/members" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set(headerCluster, "c1")
		_, _ = io.WriteString(w, `[{"id":3,"peerURLs":["`+c.url+`"]}]`)
	}))
	defer members.Close()
	b.SetPeers([]Peer{{1, []string{members.URL}}})
	c.SetPeers([]Peer{b.peer()})
	eventually(t, "the new member is connected", func() bool { return c.connectedTo(2) })
	a.SetPeers([]Peer{b.peer()})
	eventually(t, "a member at another URL is refused", func() bool { return a.log.count("not-confirmed") == 1 })
}

// TestNumbersThatCannotBe: a message with impossible numbers ends the stream and does not reach
// raft.
func TestNumbersThatCannotBe(t *testing.T) {
	a, b := startNode(t, 1, nil), startNode(t, 2, nil)
	for name, change := range map[string]func(m *raftpb.Message){
		"a term without end":     func(m *raftpb.Message) { m.Term = proto.Uint64(math.MaxUint64) },
		"no term":                func(m *raftpb.Message) { m.Term = nil },
		"a commit without end":   func(m *raftpb.Message) { m.Commit = proto.Uint64(1 << 63) },
		"entries in a heartbeat": func(m *raftpb.Message) { m.Entries = []*raftpb.Entry{{}} },
	} {
		l := a.openStream(t, b, laneControl)
		m := heartbeat(1, 2, 3)
		change(m)
		payload, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.send(kindMessage, payload); err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, _, _, err = l.frames.next()
		}
		if len(b.messages) != 0 {
			t.Errorf("%s: was received", name)
		}
	}
}

// FuzzLiveMember sends bytes to a member: as an HTTP request, and as frames on a stream of a
// confirmed member. The member must continue to receive from another one.
func FuzzLiveMember(f *testing.F) {
	frame := func(k kind, payload []byte) []byte {
		var b bytes.Buffer
		head := make([]byte, 4)
		binary.BigEndian.PutUint32(head, uint32(len(payload)+1))
		b.Write(head)
		b.Write(make([]byte, 4))
		b.WriteByte(byte(k))
		b.Write(payload)
		return b.Bytes()
	}
	f.Add([]byte("GET /cairn/peer/stream HTTP/1.1\r\nHost: x\r\nCairn-From: 1\r\n\r\n"), false)
	f.Add([]byte("POST /cairn/peer/call/x HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"), false)
	f.Add(frame(kindMessage, []byte{8, 8, 16, 2, 24, 1, 32, 3, 64, 5}), true)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5}, true)
	f.Add([]byte{0, 0, 0, 11, 0xf8, 0x8f, 0x49, 0xe9, 1, 8, 8, 16, 2, 24, 1, 32, 3, 64, 5}, true)
	a, b, c := startNode(f, 1, nil), startNode(f, 2, nil), startNode(f, 3, nil)
	b.receive = func(_ context.Context, m *raftpb.Message) {
		if m.GetFrom() == 3 {
			b.messages <- m
		}
	}
	c.SetPeers([]Peer{b.peer()})
	u, err := url.Parse(b.url)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte, onStream bool) {
		if onStream {
			l, _, err := a.upgrade(t.Context(), u, 2, func(h http.Header) { h.Set(headerLane, laneAppend) })
			if err == nil {
				_, _ = l.conn.Write(data)
				_ = l.conn.Close()
			}
		} else {
			conn, err := net.Dial("tcp", u.Host)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = conn.Write(data)
			_ = conn.Close()
		}
		eventually(t, "another member is received", func() bool {
			c.Send([]*raftpb.Message{heartbeat(3, 2, 1)})
			select {
			case <-b.messages:
				return true
			default:
				return false
			}
		})
	})
}
