package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"cairn/internal/membership"
)

// openStream opens a stream like a lane, and returns the connection to the test.
func (n *node) openStream(t *testing.T, to *node, lane string) *link {
	t.Helper()
	u, err := url.Parse(to.url)
	if err != nil {
		t.Fatal(err)
	}
	var l *link
	eventually(t, "a stream", func() bool {
		l, _, err = n.upgrade(t.Context(), u, to.cfg.MemberID, func(h http.Header) { h.Set(headerLane, lane) })
		return err == nil
	})
	return l
}

func TestHandshakesThatAreRefused(t *testing.T) {
	a := startNode(t, 1, nil)
	b := startNode(t, 2, func(c *Config) { c.Removed = func(id uint64) bool { return id == 9 } })
	good := map[string]string{
		"Upgrade": upgradeProtocol, headerVersions: "3, 1", headerCluster: "c1", headerFrom: "1", headerTo: "2", headerLane: laneControl,
	}
	for name, c := range map[string]struct {
		header, value string
		status        int
		code          string
	}{
		"a version to come":  {headerVersions, "2,3", http.StatusUpgradeRequired, refusedVersion},
		"no version":         {headerVersions, "", http.StatusUpgradeRequired, refusedVersion},
		"another cluster":    {headerCluster, "c2", http.StatusPreconditionFailed, refusedCluster},
		"no cluster":         {headerCluster, "", http.StatusBadRequest, refusedRequest},
		"another member":     {headerTo, "3", http.StatusMisdirectedRequest, refusedReceiver},
		"ourselves":          {headerFrom, "2", http.StatusBadRequest, refusedRequest},
		"a removed member":   {headerFrom, "9", http.StatusGone, refusedRemoved},
		"an unknown lane":    {headerLane, "fast", http.StatusBadRequest, refusedRequest},
		"no upgrade":         {"Upgrade", "", http.StatusBadRequest, refusedRequest},
		"snapshot, no name":  {headerLane, laneSnapshot, http.StatusBadRequest, refusedRequest},
		"not a number":       {headerFrom, "-1", http.StatusBadRequest, refusedRequest},
		"a number too large": {headerFrom, strings.Repeat("f", 17), http.StatusBadRequest, refusedRequest},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.url+pathStream, nil)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range good {
			req.Header.Set(k, v)
		}
		req.Header.Set(headerToken, a.identities.token(2))
		req.Header.Set(c.header, c.value)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var why refusal
		err = json.NewDecoder(resp.Body).Decode(&why)
		_ = resp.Body.Close()
		// The member's identity is for members only.
		confirmed := slices.Contains([]string{"an unknown lane", "no upgrade", "snapshot, no name"}, name)
		if err != nil || resp.StatusCode != c.status || why.Code != c.code || (resp.Header.Get(headerFrom) != "") != confirmed {
			t.Errorf("%s: %s, %+v, %v", name, resp.Status, why, err)
		}
	}
}

// The error about another server at a peer URL says so.
func TestNotAPeerPort(t *testing.T) {
	for name, c := range map[string]struct {
		serve  http.HandlerFunc
		logged string
	}{
		"another server":            {http.NotFound, "not a peer port of cairn: it responds with 404 Not Found"},
		"an endless head":           {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("A", strings.Repeat("a", 1<<20)) }, "the response has more than"},
		"no cluster":                {switching(http.Header{}), "cluster ID mismatch"},
		"another server's response": {switching(http.Header{headerCluster: {"00000000000000c1"}, headerFrom: {"0000000000000003"}}), "wrong member"},
		"a version unasked":         {switching(http.Header{headerCluster: {"00000000000000c1"}, headerFrom: {"0000000000000002"}, headerVersion: {"7"}}), "incompatible peer protocol"},
		"an abrupt farewell":        {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
	} {
		server := httptest.NewServer(c.serve)
		a := startNode(t, 1, nil)
		a.SetPeers([]Peer{{2, []string{server.URL}}})
		eventually(t, name+" is logged", func() bool { return a.log.count("cannot reach a peer", c.logged) == 1 })
		a.close()
		server.Close()
	}
}

func switching(h http.Header) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		var head bytes.Buffer
		_ = h.Write(&head)
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: cairn-peer\r\n"+head.String()+"\r\n")
	}
}

// A member that opens a lane again has lost the previous one, which is closed; the number of
// streams is limited.
func TestStreamsAreBounded(t *testing.T) {
	a, other := startNode(t, 1, nil), startNode(t, 3, nil)
	b := startNode(t, 2, func(c *Config) { c.Limits.StreamsMax = 2 })
	first := a.openStream(t, b, laneControl)
	second := a.openStream(t, b, laneControl)
	for {
		if _, _, _, err := first.frames.next(); err != nil {
			break
		}
	}
	third := a.openStream(t, b, laneAppend)
	other.SetPeers([]Peer{b.peer()})
	eventually(t, "one too many is refused", func() bool { return other.log.count("reason=busy") == 1 })
	for _, l := range []*link{first, second, third} {
		_ = l.conn.Close()
	}
	eventually(t, "there is room again", func() bool { return other.connectedTo(2) })
}

func TestCalls(t *testing.T) {
	a := startNode(t, 1, nil)
	b := startNode(t, 2, func(c *Config) { c.Limits.CallBytesMax, c.Limits.CallsMax = 1000, 1 })
	b.Register("echo/it", func(_ context.Context, from uint64, body []byte) ([]byte, error) {
		return append([]byte{byte(from)}, body...), nil
	})
	b.Register("refuse", func(context.Context, uint64, []byte) ([]byte, error) {
		return nil, &RemoteError{"not-leader", "this member does not lead"}
	})
	b.Register("break", func(context.Context, uint64, []byte) ([]byte, error) { return nil, errors.New("no luck") })
	b.Register("large", func(context.Context, uint64, []byte) ([]byte, error) { return make([]byte, 1001), nil })
	entered, leave := make(chan struct{}, 1), make(chan struct{})
	b.Register("block", func(ctx context.Context, _ uint64, _ []byte) ([]byte, error) {
		entered <- struct{}{}
		select {
		case <-ctx.Done():
		case <-leave:
		}
		return nil, ctx.Err()
	})
	a.SetPeers([]Peer{{2, []string{"http://" + unusedAddress(t), b.url}}, {3, []string{b.url}}, {4, []string{"http://" + unusedAddress(t)}}})

	if got, err := a.Call(t.Context(), 2, "echo/it", []byte("hello")); err != nil || string(got) != "\x01hello" {
		t.Errorf("got %q, %v", got, err)
	}
	_, err := a.Call(t.Context(), 2, "refuse", nil)
	if remote := (*RemoteError)(nil); !errors.As(err, &remote) || remote.Code != "not-leader" || remote.Text != "this member does not lead" {
		t.Errorf("got %v", err)
	}
	_, err = a.Call(t.Context(), 2, "break", nil)
	if remote := (*RemoteError)(nil); !errors.As(err, &remote) || remote.Code != "" || remote.Text != "no luck" {
		t.Errorf("got %v", err)
	}
	for name, c := range map[string]struct {
		id     uint64
		path   string
		size   int
		unsent bool
		want   string
	}{
		"a stranger":          {9, "echo/it", 0, false, "no such peer"},
		"a wrong member":      {3, "echo/it", 0, true, "wrong member"},
		"no such peer":        {4, "echo/it", 0, true, "connection refused"},
		"no such call":        {2, "other", 0, true, `unknown call "other"`},
		"too large a body":    {2, "echo/it", 1001, true, "read the body of a call"},
		"too large for us":    {2, "echo/it", 17 << 20, false, "call is too large"},
		"too large responses": {2, "large", 0, false, "call is too large"},
	} {
		_, err := a.Call(t.Context(), c.id, c.path, make([]byte, c.size))
		if err == nil || errors.Is(err, ErrNotSent) != c.unsent || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := a.Call(ctx, 2, "block", nil)
		done <- err
	}()
	await(t, "the call", entered)
	if _, err := a.Call(t.Context(), 2, "echo/it", nil); err == nil || !strings.Contains(err.Error(), "serves 1 calls already") {
		t.Errorf("one call too many: %v", err)
	}
	cancel()
	if err := await(t, "the end of the call", done); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	eventually(t, "the handler has ended", func() bool {
		_, err := a.Call(t.Context(), 2, "echo/it", nil)
		return err == nil
	})
	close(leave)
}

func TestMembers(t *testing.T) {
	members := []membership.Member{
		{ID: 3211106759432434375, Name: "a", PeerURLs: []string{"http://127.0.0.1:34380"}, ClientURLs: []string{"http://127.0.0.1:34379"}},
		{ID: 3211106759432434376, PeerURLs: []string{"http://127.0.0.1:34381"}, Learner: true},
	}
	other := http.NewServeMux()
	other.HandleFunc("/version", func(http.ResponseWriter, *http.Request) {})
	n := startNode(t, 1, func(c *Config) {
		c.Members = func() []membership.Member { return members }
		c.Others = other
	})
	resp, err := http.Get(n.url + "/members")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	// As in a response of etcd 3.4.23.
	want := `[{"id":3211106759432434375,"peerURLs":["http://127.0.0.1:34380"],"name":"a","clientURLs":["http://127.0.0.1:34379"]},` +
		`{"id":3211106759432434376,"peerURLs":["http://127.0.0.1:34381"],"isLearner":true}]` + "\n"
	if err != nil || string(body) != want || resp.Header.Get("X-Etcd-Cluster-ID") != "c1" || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("got %s %v %s", body, resp.Header, err)
	}
	for path, status := range map[string]int{"/nothing": 404, "/members/": 404, "/version": 200} {
		resp, err := http.Get(n.url + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != status {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}

	dead := "http://" + unusedAddress(t)
	id, got, err := FetchCluster(t.Context(), []string{dead, n.url}, nil)
	if err != nil || id != testCluster || len(got) != 2 || got[0].Name != "a" || !got[1].Learner || got[0].ClientURLs[0] != "http://127.0.0.1:34379" {
		t.Errorf("got %x %+v, %v", id, got, err)
	}
	bare := startNode(t, 2, nil)
	_, _, err = FetchCluster(t.Context(), []string{dead, bare.url, "ftp://x"}, nil)
	for _, text := range []string{dead, bare.url + ": it responds with 404 Not Found", `scheme "ftp"`} {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v does not mention %q", err, text)
		}
	}
}

// TLS and Unix sockets behave the same.
func TestOtherNetworks(t *testing.T) {
	b := startNode(t, 2, nil)
	b.snapshot = take(make(chan []byte, 10))
	b.Register("echo", func(_ context.Context, _ uint64, body []byte) ([]byte, error) { return body, nil })
	secure := httptest.NewUnstartedServer(b.Transport)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	defer secure.CloseClientConnections()
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())

	t.Chdir(t.TempDir()) // a Unix URL names a file in the working directory
	l, err := net.Listen("unix", filepath.Base("peer:1"))
	if err != nil {
		t.Fatal(err)
	}
	local := &http.Server{Handler: b.Transport, ReadHeaderTimeout: patience}
	go func() { _ = local.Serve(l) }()
	defer func() { _ = local.Close() }()

	for _, u := range []string{secure.URL, "unix://peer:1"} {
		a := startNode(t, 1, func(c *Config) {
			c.TLS = func(host string) *tls.Config {
				return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, ServerName: host}
			}
		})
		a.SetPeers([]Peer{{2, []string{u}}})
		eventually(t, "connected", func() bool { return a.connectedTo(2) })
		a.Send([]*raftpb.Message{appendOf(1, 2, 1, 3*referBytesMin), heartbeat(1, 2, 2)})
		for range 2 {
			if m := await(t, "a message", b.messages); len(m.Entries) == 1 && len(m.Entries[0].Data) != 3*referBytesMin {
				t.Errorf("%s: %d bytes of data", u, len(m.Entries[0].Data))
			}
		}
		if got, err := a.Call(t.Context(), 2, "echo", []byte("x")); err != nil || string(got) != "x" {
			t.Errorf("%s: %q, %v", u, got, err)
		}
		a.SendSnapshot(snapshotMessage(1, 2, 5), -1, newSource(bytes.NewReader(make([]byte, 1<<20))))
		if !await(t, "the report", a.sent) {
			t.Errorf("%s: the snapshot failed", u)
		}
		a.close()
	}
}

func TestBackoff(t *testing.T) {
	n := startNode(t, 1, func(c *Config) { c.Limits.BackoffMin, c.Limits.BackoffMax = 50*time.Millisecond, 2*time.Second })
	for failures, most := range map[int]time.Duration{1: 50 * time.Millisecond, 2: 100 * time.Millisecond, 6: 1600 * time.Millisecond, 7: 2 * time.Second, 1000: 2 * time.Second} {
		for range 100 {
			if d := n.backoff(failures); d < most/2 || d > most {
				t.Fatalf("%v after %d failures", d, failures)
			}
		}
	}
}
