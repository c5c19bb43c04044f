package v2client

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// server sends the same response to every request, and counts them.
func server(t *testing.T, handle http.HandlerFunc) (url string, count *atomic.Int32) {
	t.Helper()
	count = new(atomic.Int32)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		count.Add(1)
		handle(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, count
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Etcd-Index", "7")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

const found = `{"action":"get","node":{"key":"/k","value":"v","modifiedIndex":3,"createdIndex":2}}`

// closedEndpoint returns an endpoint on which no process listens.
func closedEndpoint(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "http://" + l.Addr().String()
}

func client(t *testing.T, config Config, endpoints ...string) *Client {
	t.Helper()
	config.Endpoints, config.Transport = endpoints, &http.Transport{DisableKeepAlives: true}
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTheNextEndpointIsAskedAndKept(t *testing.T) {
	good, requested := server(t, says(200, found))
	bad, failed := server(t, says(503, ""))
	c := client(t, Config{}, closedEndpoint(t), bad, good)
	for range 2 {
		r, err := c.Get(context.Background(), "k", GetOptions{})
		if err != nil || r.Node.Value != "v" || r.Index != 7 || r.Node.ModifiedIndex != 3 {
			t.Fatalf("got %+v, %v", r, err)
		}
	}
	if requested.Load() != 2 || failed.Load() != 1 {
		t.Errorf("the good endpoint got %d requests and the bad one %d, want 2 and 1", requested.Load(), failed.Load())
	}
}

// TestSockets sends requests to endpoints that are Unix sockets, without and with TLS.
func TestSockets(t *testing.T) {
	plainURL, plainRequests := server(t, says(200, found))
	listen := func(name string, secure bool) string {
		t.Helper()
		s := httptest.NewUnstartedServer(says(200, found))
		path := filepath.Join(t.TempDir(), name)
		s.Listener.Close()
		var err error
		if s.Listener, err = net.Listen("unix", path); err != nil {
			t.Fatal(err)
		}
		if secure {
			s.StartTLS()
		} else {
			s.Start()
		}
		t.Cleanup(s.Close)
		return path
	}
	var traced []string
	trace := Config{Trace: func(line string) { traced = append(traced, line) }}
	path := listen("etcd.sock", false)
	for _, endpoints := range [][]string{{"unix://" + path}, {"unix:///no/such/socket", "unix://" + path}, {"unix://" + path, plainURL}} {
		if r, err := client(t, trace, endpoints...).Get(t.Context(), "k", GetOptions{}); err != nil || r.Node.Value != "v" {
			t.Errorf("%q: %+v, %v", endpoints, r, err)
		}
	}
	if want := "curl --unix-socket " + path + " -X GET http://localhost/v2/keys/k"; !strings.HasPrefix(traced[0], want) {
		t.Errorf("traced %q, want %q", traced[0], want)
	}
	if n := plainRequests.Load(); n != 0 {
		t.Errorf("the second endpoint got %d requests", n)
	}
	// the certificate of httptest is for example.com, which here is the name of the socket
	secure := listen("example.com", true)
	_, err := client(t, Config{}, "unixs://"+secure).Get(t.Context(), "k", GetOptions{})
	if unknown := (x509.UnknownAuthorityError{}); !errors.As(err, &unknown) && !strings.Contains(fmt.Sprint(err), "unknown authority") {
		t.Errorf("without the authority: %v", err)
	}
	_, err = client(t, Config{}, "unix:///no/such/socket").Get(t.Context(), "k", GetOptions{})
	if err == nil || !strings.Contains(err.Error(), "/no/such/socket: connect: no such file or directory") {
		t.Errorf("no socket: %v", err)
	}
	if _, err := New(Config{Endpoints: []string{"unix://"}}); err == nil || !strings.Contains(err.Error(), "unix://PATH") {
		t.Errorf("no path: %v", err)
	}
}

// The members API responds with status 500 to a change that it refuses, although it has a leader.
func TestRefusedChangeOfMembers(t *testing.T) {
	url, _ := server(t, says(500, `{"message":"Internal Server Error"}`))
	c := client(t, Config{}, url)
	_, err := c.AddMember(t.Context(), []string{"http://127.0.0.1:1"})
	for what, err := range map[string]error{"add": err, "remove": c.RemoveMember(t.Context(), "1"), "update": c.UpdateMember(t.Context(), "1", nil)} {
		if err == nil || strings.Contains(err.Error(), "leader") || !strings.Contains(err.Error(), "refused the change") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestErrorsOfAllEndpointsAreTold(t *testing.T) {
	noLeader, _ := server(t, says(500, ""))
	gateway, _ := server(t, says(502, ""))
	_, err := client(t, Config{}, noLeader, gateway, closedEndpoint(t)).Get(context.Background(), "k", GetOptions{})
	var cluster *ClusterError
	if !errors.As(err, &cluster) || len(cluster.Errors) != 3 || Unreachable(err) {
		t.Fatalf("got %v", err)
	}
	for i, want := range []string{
		"client: etcd member " + noLeader + " has no leader",
		"client: etcd member " + gateway + " returns server error [Bad Gateway]",
		"connection refused",
	} {
		if !strings.Contains(cluster.Errors[i].Error(), want) {
			t.Errorf("error #%d is %v, want %s", i, cluster.Errors[i], want)
		}
	}
	text := err.Error()
	if !strings.HasPrefix(text, "client: etcd cluster is unavailable or misconfigured; error #0: ") || !strings.Contains(text, "\n; error #1: ") ||
		!strings.HasSuffix(text, "\n") {
		t.Errorf("got %q", text)
	}
	if _, err := client(t, Config{}, closedEndpoint(t), closedEndpoint(t)).Get(context.Background(), "k", GetOptions{}); !Unreachable(err) {
		t.Errorf("%v is not recognized as unreachable", err)
	}
}

func TestWhatMustNotBeRepeatedIsNot(t *testing.T) {
	good, requested := server(t, says(201, found))
	for name, write := range map[string]func(*Client) error{
		"create": func(c *Client) error {
			_, err := c.Set(context.Background(), "k", "v", SetOptions{PrevExist: new(false)})
			return err
		},
		"in order": func(c *Client) error { _, err := c.CreateInOrder(context.Background(), "k", "v", 0); return err },
		"member":   func(c *Client) error { _, err := c.AddMember(context.Background(), []string{"http://a:1"}); return err },
	} {
		cut, attempts := server(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		if err := write(client(t, Config{}, cut, good)); err == nil || attempts.Load() != 1 || requested.Load() != 0 {
			t.Errorf("%s: %v, the first endpoint got %d requests and the second %d, want 1 and 0", name, err, attempts.Load(), requested.Load())
		}
	}
	cut, _ := server(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if _, err := client(t, Config{}, cut, good).Set(context.Background(), "k", "v", SetOptions{}); err != nil || requested.Load() != 1 {
		t.Errorf("an unconditional set: %v, the second endpoint got %d requests, want 1", err, requested.Load())
	}
}

func TestHeaderTimeoutIsNotForWatches(t *testing.T) {
	slow, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
		if !r.URL.Query().Has("wait") {
			<-r.Context().Done() // the client gives up, however slow it is
			return
		}
		time.Sleep(50 * time.Millisecond) // longer than the timeout
		says(200, found)(w, r)
	})
	c := client(t, Config{HeaderTimeout: 10 * time.Millisecond}, slow)
	_, err := c.Get(context.Background(), "k", GetOptions{})
	if err == nil || !strings.Contains(err.Error(), "error #0: client: endpoint "+slow+" exceeded header timeout") {
		t.Errorf("got %v", err)
	}
	if Unreachable(err) {
		t.Error("a slow endpoint is reported as unreachable")
	}
	if _, err := c.Watch(context.Background(), "k", 0, false); err != nil {
		t.Errorf("watch: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	if _, err := c.Get(ctx, "k", GetOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after the total timeout: %v", err)
	}
}

func TestWatchAsksAgainAfterAnEmptyResponse(t *testing.T) {
	var mu sync.Mutex // guards requested
	var requested []string
	url, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		requested = append(requested, r.URL.RawQuery)
		if len(requested) == 1 {
			says(200, "")(w, r)
			return
		}
		says(200, found)(w, r)
	})
	r, err := client(t, Config{}, url).Watch(context.Background(), "k", 0, true)
	if err != nil || r.Node.Value != "v" {
		t.Fatalf("got %+v, %v", r, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"recursive=true&wait=true", "recursive=true&wait=true&waitIndex=8"}; !slices.Equal(requested, want) {
		t.Errorf("requested %q, want %q", requested, want)
	}
}

func TestSync(t *testing.T) {
	var members atomic.Value
	url, _ := server(t, func(w http.ResponseWriter, r *http.Request) { says(200, members.Load().(string))(w, r) })
	c := client(t, Config{}, closedEndpoint(t), url+"/")
	members.Store(`{"members":[{"id":"1","clientURLs":["http://other:1"]},{"id":"2","clientURLs":["` + url + `"]},{"id":"3","clientURLs":[]}]}`)
	if err := c.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if want := []string{url, "http://other:1"}; !slices.Equal(c.Endpoints(), want) {
		t.Errorf("the one that responded is not first: %q, want %q", c.Endpoints(), want)
	}
	members.Store(`{"members":[{"id":"3"}]}`)
	if err := c.Sync(context.Background()); !errors.Is(err, ErrNoEndpoints) || len(c.Endpoints()) != 2 {
		t.Errorf("members without URLs: %v, then endpoints %q", err, c.Endpoints())
	}
}

func TestRedirectsAreFollowedButNotWithThePassword(t *testing.T) {
	elsewhere, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if _, _, sent := r.BasicAuth(); sent || r.Method != http.MethodPut || string(body) != "value=v" {
			t.Errorf("got %s with %q, credentials sent: %t", r.Method, body, sent)
		}
		says(200, found)(w, r)
	})
	here, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "root" || password != "pw" {
			t.Errorf("the endpoint got the credentials %s:%s", user, password)
		}
		http.Redirect(w, r, elsewhere+"/v2/keys/k", http.StatusTemporaryRedirect)
	})
	if _, err := client(t, Config{Username: "root", Password: "pw"}, here).Set(context.Background(), "k", "v", SetOptions{}); err != nil {
		t.Error(err)
	}
	circle, rounds := server(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/again", http.StatusMovedPermanently)
	})
	if _, err := client(t, Config{}, circle).Get(context.Background(), "k", GetOptions{}); err == nil || rounds.Load() != redirectsMax+1 {
		t.Errorf("a circle: %v after %d rounds", err, rounds.Load())
	}
}

func TestPaths(t *testing.T) {
	for given, want := range map[string]string{
		"/v2/keys//a//b": "/v2/keys/a/b", "/v2/keys//": "/v2/keys/", "/v2/keys/a/": "/v2/keys/a/", "/v2/keys/a/../b": "/v2/keys/b",
	} {
		if got := cleanPath(given); got != want {
			t.Errorf("%s: got %s, want %s", given, got, want)
		}
	}
}

func TestErrorsOfTheAPIs(t *testing.T) {
	for _, c := range []struct {
		status     int
		body, want string
	}{
		{404, `{"errorCode":100,"message":"Key not found","cause":"/k","index":5}`, "100: Key not found (/k) [5]"},
		{404, "404 page not found\n", `client: response is invalid json. The endpoint is probably not valid etcd cluster endpoint. (status 404, body "404 page not found")`},
		{200, "<html>", `client: response is invalid json. The endpoint is probably not valid etcd cluster endpoint. (status 200, body "<html>")`},
	} {
		url, _ := server(t, says(c.status, c.body))
		if _, err := client(t, Config{}, url).Get(context.Background(), "k", GetOptions{}); err == nil || err.Error() != c.want {
			t.Errorf("%d %s: got %v, want %s", c.status, c.body, err, c.want)
		}
	}
	url, _ := server(t, says(401, `{"message":"Insufficient credentials"}`))
	if _, err := client(t, Config{}, url).Roles(context.Background()); err == nil || err.Error() != "Insufficient credentials" {
		t.Errorf("got %v", err)
	}
}

func TestEndpointsMustBeURLs(t *testing.T) {
	for text, want := range map[string]string{
		"http://a:x": `endpoint "http://a:x": parse`, "http://": `endpoint "http://" has no host`, "": "no endpoints",
	} {
		if _, err := New(Config{Endpoints: []string{text}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v", text, err)
		}
	}
	c, err := New(Config{Endpoints: []string{"127.0.0.1:2379", "", "https://a:1"}})
	if want := []string{"http://127.0.0.1:2379", "https://a:1"}; err != nil || !slices.Equal(c.Endpoints(), want) {
		t.Errorf("got %v, %v", c.Endpoints(), err)
	}
}
