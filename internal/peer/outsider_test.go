package peer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
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

// TestStrangersDoNotKeepMembersOut: however many connections others hold, a member gets in, and the
// connections of members are kept.
func TestStrangersDoNotKeepMembersOut(t *testing.T) {
	b := startNode(t, 2, nil)
	a := startNode(t, 1, nil)
	introduce(a, b)
	awaitConnected(t, a, b)
	b.Register("do", func(context.Context, uint64, []byte) ([]byte, error) { return []byte("done"), nil })
	if _, err := a.Call(t.Context(), 2, "do", nil); err != nil {
		t.Fatal(err)
	}
	address := strings.TrimPrefix(b.url, "http://")
	var held []net.Conn
	for i := range 2 * strangersMax {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
		switch i % 3 {
		case 0: // one that has been served, and waits for the next request
			_, _ = io.WriteString(conn, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
		case 1:
			_, _ = io.WriteString(conn, "GET /cairn/peer/stream HTTP/1.1\r\nHost: x\r\n")
		}
	}
	eventually(t, "the oldest are closed", func() bool {
		b.strangers.mu.Lock()
		defer b.strangers.mu.Unlock()
		return len(b.strangers.conns) <= strangersMax && b.strangers.order.Len() == len(b.strangers.conns)
	})
	_ = held[0].SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, held[0]); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the oldest connection is still open")
	}
	if !a.connectedTo(2) || !b.connectedTo(1) {
		t.Error("the members' streams were closed")
	}
	if got, err := a.Call(t.Context(), 2, "do", nil); err != nil || string(got) != "done" {
		t.Errorf("a call on a kept connection: %q, %v", got, err)
	}
	c := startNode(t, 3, nil)
	c.SetPeers([]Peer{b.peer()})
	b.SetPeers([]Peer{a.peer(), c.peer()})
	eventually(t, "a new member is connected", func() bool { return c.connectedTo(2) })
	for _, conn := range held {
		_ = conn.Close()
	}
	eventually(t, "closed connections are forgotten", func() bool {
		b.strangers.mu.Lock()
		defer b.strangers.mu.Unlock()
		return len(b.strangers.conns) <= 3 // those on which members were asked for confirmations
	})
}

// TestConfirmationsInOneName: requests in the name of a member that does not respond do not
// prevent confirmations of other members.
func TestConfirmationsInOneName(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close() //nolint:errcheck // nothing was written
	b := startNode(t, 2, func(c *Config) { c.Limits.ConnectTimeout = patience })
	b.SetPeers([]Peer{{1, []string{"http://" + silent.Addr().String()}}})
	head := "GET " + pathStream + " HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: " + upgradeProtocol + "\r\n" +
		headerVersions + ": 1\r\n" + headerCluster + ": c1\r\n" + headerFrom + ": 1\r\n" + headerTo + ": 2\r\n" + headerLane + ": control\r\n" +
		headerToken + ": ab\r\n\r\n"
	for range 10 * confirmsMax {
		conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := io.WriteString(conn, head); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all slots of the silent member are taken", func() bool { return len(b.identities.slots.of(1)) == confirmsMax })
	c := startNode(t, 3, nil)
	c.SetPeers([]Peer{b.peer()})
	b.SetPeers([]Peer{{1, []string{"http://" + silent.Addr().String()}}, c.peer()})
	eventually(t, "another member is connected", func() bool { return c.connectedTo(2) })
}

// TestRefusalsDoNotFillTheLog: a stranger whose every request is refused for another reason makes
// few lines; what is known of members is still logged later.
func TestRefusalsDoNotFillTheLog(t *testing.T) {
	b := startNode(t, 2, nil)
	for i := range 3 * failureLines {
		resp, _ := ask(t, b.url, map[string]string{headerVersions: "1", headerCluster: "c1", headerFrom: formatID(uint64(100 + i)), headerTo: "2", headerLane: laneControl})
		if resp.StatusCode < 400 {
			t.Fatal(resp.Status)
		}
	}
	if n := b.log.count("refused a peer"); n != failureLines {
		t.Errorf("%d lines, want %d", n, failureLines)
	}
	b.refused.mu.Lock()
	b.refused.since = b.refused.since.Add(-failureInterval)
	b.refused.mu.Unlock()
	_, _ = ask(t, b.url, map[string]string{headerVersions: "7", headerFrom: "3"})
	if n := b.log.count("refused a peer"); n != failureLines+1 {
		t.Errorf("%d lines after an interval, want %d", n, failureLines+1)
	}
}

// TestRefusalsTellNothing: what a stranger gets for a guess does not depend on whether a token
// exists, whether the member answers, or who this member is.
func TestRefusalsTellNothing(t *testing.T) {
	a, b := startNode(t, 1, nil), startNode(t, 2, func(c *Config) { c.Removed = func(id uint64) bool { return id == 9 } })
	introduce(a, b)
	awaitConnected(t, a, b)
	for _, c := range []map[string]string{
		{},
		{headerFrom: "1"},
		{headerFrom: "7"},
		{headerFrom: "9"},
		{headerFrom: "2"},
		{headerCluster: "c2"},
		{headerTo: "3"},
		{headerVersions: "7"},
		{headerToken: ""},
		{headerToken: a.identities.token(3)},
		{headerLane: "x"},
	} {
		header := map[string]string{headerVersions: "1", headerCluster: "c1", headerFrom: "1", headerTo: "2", headerLane: laneControl, headerToken: "abcd"}
		for k, v := range c {
			header[k] = v
		}
		resp, body := ask(t, b.url, header)
		if resp.StatusCode < 400 {
			t.Errorf("%v: %s", c, resp.Status)
		}
		for _, secret := range []string{formatID(2), formatID(testCluster), "c1", "0002", a.identities.token(2), b.identities.token(1), a.url} {
			if strings.Contains(body, secret) {
				t.Errorf("%v: the answer has %q: %s", c, secret, body)
			}
		}
		for _, h := range []string{headerCluster, headerFrom, headerTo, headerToken, headerVersion} {
			if v := resp.Header.Get(h); v != "" {
				t.Errorf("%v: the answer has the header %s: %s", c, h, v)
			}
		}
	}
	// The question for a token is refused alike for everything that is wrong in it.
	for _, c := range []map[string]string{{}, {headerFrom: "2"}, {headerFrom: "7"}, {headerTo: "7"}, {headerCluster: "c2"}, {headerTokenHash: strings.Repeat("0", 64)}} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.url+pathConfirm, nil)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range map[string]string{headerCluster: "c1", headerFrom: "1", headerTo: "2", headerTokenHash: strings.Repeat("ab", 32)} {
			req.Header.Set(k, v)
		}
		for k, v := range c {
			req.Header.Set(k, v)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		// Date, Content-Length
		if resp.StatusCode != http.StatusForbidden || len(body) != 0 || len(resp.Header) > 2 {
			t.Errorf("%v: %s %q %v", c, resp.Status, body, resp.Header)
		}
	}
}
