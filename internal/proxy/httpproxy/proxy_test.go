package httpproxy

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
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
