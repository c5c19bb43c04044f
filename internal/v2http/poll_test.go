package v2http

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"cairn/internal/auth"
	"cairn/internal/http1"
)

// users is an Authority without a log.
type users struct {
	site  *pollSite
	table *auth.Table
	gate  *auth.Gate
}

func (u *users) Gate() *auth.Gate { return u.gate }

func (u *users) ChangeAuth(_ context.Context, c *auth.Command) (res auth.Result, err error) {
	s := u.site
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b.Reset()
	u.table.Begin()
	if res, err = u.table.Apply(s.b, s.clock(), c); err != nil {
		return res, err
	}
	if err := s.b.Commit(false); err != nil {
		return res, err
	}
	u.table.Publish()
	return res, nil
}

// pollSite is a site that package http1 serves, so that polls are parked.
type pollSite struct {
	site
	handler *Handler
	users   *users
	client  *http.Client
}

func newPollSite(t *testing.T) *pollSite {
	tree := newHubTree(t, still)
	s := &pollSite{site: site{hubTree: tree, t: t}, client: &http.Client{Transport: &http.Transport{}}}
	table, err := auth.Open(tree.db)
	if err != nil {
		t.Fatal(err)
	}
	gate, err := auth.NewGate(table, auth.GateConfig{Now: time.Now, Rand: zeros{}})
	if err != nil {
		t.Fatal(err)
	}
	s.users = &users{s, table, gate}
	s.handler = New(Options{Backend: tree, Hub: tree.hub, Authority: s.users})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := http1.New(http1.Options{Handler: s.handler})
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go server.ServeConn(nc, nil, func() {})
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		server.Close()
		s.client.CloseIdleConnections()
		s.waiting(0)
	})
	s.url = "http://" + l.Addr().String()
	return s
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// waiting waits until so many watchers exist, as /v2/stats/store counts them.
func (s *pollSite) waiting(n int64) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); s.handler.counters.Watchers.Load() != n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("%d watch, want %d", s.handler.counters.Watchers.Load(), n)
		}
	}
}

// begin starts a request, and returns when the response's headers have arrived.
func (s *pollSite) begin(ctx context.Context, user, method, target string) *http.Response {
	req, err := http.NewRequestWithContext(ctx, method, s.url+"/v2/keys"+target, http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	if user != "" {
		req.SetBasicAuth(user, "secret")
	}
	resp, err := s.client.Do(req)
	if err != nil {
		s.t.Error(err)
		return &http.Response{Body: http.NoBody}
	}
	return resp
}

func (s *pollSite) rest(resp *http.Response) string {
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Error(err)
	}
	_ = resp.Body.Close()
	return string(text)
}

func (s *pollSite) change(c *auth.Command) {
	s.t.Helper()
	if _, err := s.users.ChangeAuth(s.t.Context(), c); err != nil {
		s.t.Fatal(err)
	}
}

// enableAuth creates root and a user "reader" with read permission for /a and everything below it,
// and enables authentication.
func (s *pollSite) enableAuth() {
	s.t.Helper()
	hash, err := s.users.gate.Hash(s.t.Context(), "secret")
	if err != nil {
		s.t.Fatal(err)
	}
	s.change(&auth.Command{Kind: auth.KindV2UserCreate, V2: true, Name: "root", Hash: hash})
	s.change(&auth.Command{Kind: auth.KindV2RoleCreate, V2: true, Name: "reads", Read: []string{"/a*"}})
	s.change(&auth.Command{Kind: auth.KindV2UserCreate, V2: true, Name: "reader", Hash: hash, Roles: []string{"reads"}})
	s.change(&auth.Command{Kind: auth.KindEnable, V2: true})
}

// Clients that disconnect while they wait, or before, are no longer watchers.
func TestPollClientGone(t *testing.T) {
	s := newPollSite(t)
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		for range 20 {
			resp := s.begin(ctx, "", http.MethodGet, "/a?wait=true")
			t.Cleanup(func() { _ = resp.Body.Close() })
		}
		s.waiting(20)
		cancel()
		s.waiting(0)
	}
	s.enableAuth()
	// The password is checked while the server watches for the client's disconnect.
	credentials := "Authorization: Basic " + "cmVhZGVyOnNlY3JldA=="
	for range 20 {
		nc, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(nc, "GET /v2/keys/a?wait=true HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n", credentials)
		_ = nc.Close()
	}
	resp := s.begin(t.Context(), "reader", http.MethodGet, "/a?wait=true")
	s.rest(s.begin(t.Context(), "root", http.MethodPut, "/a?value=1"))
	if got := s.rest(resp); !strings.Contains(got, `"value":"1"`) {
		t.Fatalf("%q", got)
	}
	s.waiting(0)
}

// A waiting poll receives no event that its client may not read when it happens.
func TestPollLosesPermission(t *testing.T) {
	s := newPollSite(t)
	s.rest(s.begin(t.Context(), "", http.MethodPut, "/a/b?value=1"))
	open := []*http.Response{s.begin(t.Context(), "", http.MethodGet, "/c?wait=true"), s.begin(t.Context(), "reader", http.MethodGet, "/a?wait=true&recursive=true")}
	s.enableAuth()
	s.change(&auth.Command{Kind: auth.KindV2RoleUpdate, V2: true, Name: "guest", RevokeRead: []string{"/*"}, RevokeWrite: []string{"/*"}})
	s.waiting(2)
	s.rest(s.begin(t.Context(), "root", http.MethodPut, "/c?value=secret"))
	if got := s.rest(open[0]); got != "" {
		t.Errorf("a guest received %q", got)
	}
	s.rest(s.begin(t.Context(), "root", http.MethodPut, "/a/b?value=2"))
	if got := s.rest(open[1]); !strings.Contains(got, `"value":"2"`) {
		t.Errorf("a user with read permission received %q", got)
	}
	resp := s.begin(t.Context(), "reader", http.MethodGet, "/a?wait=true&recursive=true")
	s.waiting(1)
	s.change(&auth.Command{Kind: auth.KindV2UserUpdate, V2: true, Name: "reader", Revoke: []string{"reads"}})
	s.rest(s.begin(t.Context(), "root", http.MethodPut, "/a/b?value=3"))
	if got := s.rest(resp); got != "" {
		t.Errorf("a user whose permission was revoked received %q", got)
	}
	if resp := s.begin(t.Context(), "reader", http.MethodGet, "/a?wait=true"); resp.StatusCode != http.StatusUnauthorized {
		t.Error(resp.Status)
	} else if s.rest(resp); resp.Header.Get("X-Etcd-Index") == "" {
		t.Error("no index")
	}
	s.waiting(0)
}

// The permission of a poll is that of its path as sent: /b/* permits /b/, which is the node /b,
// also when the poll began before authentication.
func TestPollOfPathAsSent(t *testing.T) {
	s := newPollSite(t)
	resp := s.begin(t.Context(), "reader", http.MethodGet, "/b/?wait=true&recursive=true")
	s.enableAuth()
	s.change(&auth.Command{Kind: auth.KindV2RoleUpdate, V2: true, Name: "reads", Read: []string{"/b/*"}})
	after := s.begin(t.Context(), "reader", http.MethodGet, "/b/?wait=true")
	if refused := s.begin(t.Context(), "reader", http.MethodGet, "/b?wait=true"); refused.StatusCode != http.StatusUnauthorized {
		t.Errorf("a poll of /b: %s", refused.Status)
	}
	s.rest(s.begin(t.Context(), "root", http.MethodPut, "/b?value=1"))
	for _, poll := range []*http.Response{resp, after} {
		if got := s.rest(poll); !strings.Contains(got, `"key":"/b"`) {
			t.Errorf("received %q", got)
		}
	}
	if got := s.rest(s.begin(t.Context(), "reader", http.MethodGet, "/b/")); !strings.Contains(got, `"key":"/b"`) {
		t.Errorf("GET /b/: %s", got)
	}
}

// Closing the hub completes the polls with a response.
func TestPollsEndWithHub(t *testing.T) {
	s := newPollSite(t)
	var open []*http.Response
	for range 10 {
		open = append(open, s.begin(t.Context(), "", http.MethodGet, "/a?wait=true"))
	}
	s.hub.Close()
	for _, resp := range open {
		if got := s.rest(resp); got != "" {
			t.Errorf("received %q", got)
		}
	}
	s.waiting(0)
}

// Many clients poll keys that many change: each change reaches each poll that waits for its index.
func TestManyPolls(t *testing.T) {
	s := newPollSite(t)
	const pollers, changes = 8, 40
	first := s.rest(s.begin(t.Context(), "", http.MethodPut, "/a?value=0"))
	var index int
	if _, err := fmt.Sscanf(first[strings.Index(first, "modifiedIndex"):], `modifiedIndex":%d`, &index); err != nil {
		t.Fatal(first, err)
	}
	var all sync.WaitGroup
	defer all.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range pollers {
		all.Go(func() {
			for i := range changes {
				want := fmt.Sprintf(`"modifiedIndex":%d,`, index+1+i)
				if got := s.rest(s.begin(ctx, "", http.MethodGet, fmt.Sprintf("/a?wait=true&waitIndex=%d", index+1+i))); !strings.Contains(got, want) {
					t.Errorf("got %q, want %s", got, want)
					return
				}
			}
		})
	}
	for i := range changes {
		s.rest(s.begin(t.Context(), "", http.MethodPut, fmt.Sprintf("/a?value=%d", i)))
	}
	all.Wait()
	s.waiting(0)
}
