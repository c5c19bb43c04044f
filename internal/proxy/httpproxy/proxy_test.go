package httpproxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestMemberThatFailsWrites: a member that responds 500 or 503 to a write gets no further requests
// for a while, so that one fault fails one write. Other errors, and errors of reads, do not matter.
func TestMemberThatFailsWrites(t *testing.T) {
	for _, c := range []struct {
		method string
		status int
		want   int // responses with the status, of 6 requests
	}{
		{http.MethodPut, http.StatusInternalServerError, 1},
		{http.MethodPost, http.StatusServiceUnavailable, 1},
		{http.MethodPut, http.StatusPreconditionFailed, 3},
		{http.MethodGet, http.StatusInternalServerError, 3},
	} {
		var urls []string
		for _, status := range []int{c.status, http.StatusOK} {
			member := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
			t.Cleanup(member.Close)
			urls = append(urls, member.URL)
		}
		p := New(Options{Find: func(context.Context) ([]string, error) { return urls, nil }, FailureWait: time.Hour})
		p.members.refresh(t.Context())
		failed := 0
		for range 6 {
			w := httptest.NewRecorder()
			p.ServeHTTP(w, httptest.NewRequest(c.method, "/v2/keys/k", strings.NewReader("value=v")))
			if w.Code == c.status {
				failed++
			}
		}
		if failed != c.want {
			t.Errorf("%s with status %d: %d requests failed, want %d", c.method, c.status, failed, c.want)
		}
		for _, e := range p.members.all() {
			t.Cleanup(e.idle.close)
		}
	}
}

// TestRequestThatWasNotExecuted: when a member responds that it has not executed a request, another
// one gets it.
func TestRequestThatWasNotExecuted(t *testing.T) {
	var urls, bodies []string
	for _, removed := range []bool{true, false} {
		member := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if removed {
				w.Header().Set("X-Etcd-Not-Executed", "true")
				w.Header().Set("Connection", "close")
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			bodies = append(bodies, r.FormValue("value"))
		}))
		t.Cleanup(member.Close)
		urls = append(urls, member.URL)
	}
	p := New(Options{Find: func(context.Context) ([]string, error) { return urls, nil }, FailureWait: time.Hour})
	p.members.refresh(t.Context())
	for range 3 {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPut, "/v2/keys/k", strings.NewReader("value=v"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		p.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			t.Errorf("status %d: %s", w.Code, w.Body)
		}
	}
	if got := strings.Join(bodies, ""); got != "vvv" {
		t.Errorf("the other member got %q", got)
	}
	for _, e := range p.members.all() {
		t.Cleanup(e.idle.close)
	}
}

// TestPollContinues: when a member ends a long poll without an event, or dies, another member gets
// the poll, from the revision at which the first one began. The client gets one response.
func TestPollContinues(t *testing.T) {
	for _, c := range []struct{ name, target, want string }{
		{"from now", "/v2/keys/a%20b?recursive=true&wait=true", "/v2/keys/a%20b?recursive=true&wait=true&waitIndex=8"},
		{"from 0, which is now", "/v2/keys/k?wait=true&waitIndex=0", "/v2/keys/k?wait=true&waitIndex=8"},
		{"from an index", "/v2/keys/k?wait=true&waitIndex=5", "/v2/keys/k?wait=true&waitIndex=5"},
		{"a stream", "/v2/keys/k?wait=true&stream=true", ""},
		{"no poll", "/v2/keys/k", ""},
	} {
		for _, dies := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, dies %v", c.name, dies), func(t *testing.T) {
				got := make(chan string, 2)
				var served atomic.Int64
				member := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					got <- r.RequestURI
					w.Header().Set("X-Etcd-Index", "7")
					w.WriteHeader(http.StatusOK)
					http.NewResponseController(w).Flush()
					if served.Add(1) > 1 {
						io.WriteString(w, "event")
					} else if dies {
						panic(http.ErrAbortHandler)
					}
				})
				one, two := httptest.NewServer(member), httptest.NewServer(member)
				defer one.Close()
				defer two.Close()
				p := New(Options{Find: func(context.Context) ([]string, error) { return []string{one.URL, two.URL}, nil }, FailureWait: time.Hour})
				p.members.refresh(t.Context())
				via := httptest.NewServer(p)
				defer via.Close()
				resp, err := http.Get(via.URL + c.target)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if first := <-got; first != c.target {
					t.Errorf("the first member got %s, want %s", first, c.target)
				}
				if c.want == "" {
					if string(body) != "" || (err != nil) != dies || served.Load() != 1 {
						t.Errorf("got %q, %v, %d requests; want the end of the first member's response", body, err, served.Load())
					}
				} else if string(body) != "event" || err != nil || resp.Header.Get("X-Etcd-Index") != "7" {
					t.Errorf("got %q, %v, %v", body, err, resp.Header)
				} else if second := <-got; second != c.want {
					t.Errorf("the second member got %s, want %s", second, c.want)
				}
				for _, e := range p.members.all() {
					e.idle.close()
				}
			})
		}
	}
}

// brokenClient is the connection of a client that has disconnected, which the context of its
// request does not report yet.
type brokenClient struct{ *httptest.ResponseRecorder }

func (brokenClient) FlushError() error { return io.ErrClosedPipe }

// TestPollOfBrokenClient: a poll whose client has disconnected does not go on, and is no failure of
// the member.
func TestPollOfBrokenClient(t *testing.T) {
	var served atomic.Int64
	member := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		served.Add(1)
		w.Header().Set("X-Etcd-Index", "7")
		w.WriteHeader(http.StatusOK)
		http.NewResponseController(w).Flush()
	}))
	defer member.Close()
	p := New(Options{Find: func(context.Context) ([]string, error) { return []string{member.URL}, nil }, FailureWait: time.Hour})
	p.members.refresh(t.Context())
	func() {
		defer func() { _ = recover() }() // http.ErrAbortHandler
		p.ServeHTTP(brokenClient{httptest.NewRecorder()}, httptest.NewRequest(http.MethodGet, "/v2/keys/k?wait=true", http.NoBody))
	}()
	if n := served.Load(); n != 1 {
		t.Errorf("%d requests were sent, want 1", n)
	}
	for _, e := range p.members.all() {
		if e.failedUntil.Load() != 0 {
			t.Errorf("%s counts as failed", e.url)
		}
		e.idle.close()
	}
}

// TestPollTimeout: when a member ends a poll after its time, the client gets that end.
func TestPollTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &forwarded{r: httptest.NewRequest(http.MethodGet, "/v2/keys/k?wait=true&waitIndex=5", http.NoBody), since: time.Now()}
		ended := &http.Response{StatusCode: http.StatusOK, ContentLength: -1}
		time.Sleep(pollTimeout - time.Nanosecond)
		if !f.continuePoll(ended) {
			t.Error("before its time: not continued")
		}
		time.Sleep(time.Nanosecond)
		if f.continuePoll(ended) {
			t.Error("after its time: continued")
		}
	})
}
