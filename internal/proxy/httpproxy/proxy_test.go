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
