package v2http

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"cairn/internal/kv"
)

// notExecuted is the error of a member that was removed from its cluster.
type notExecuted struct{ error }

func (notExecuted) Unexecuted() {}

// TestRequestThatWasNotExecuted: the response to a request that has certainly not been executed
// says so, since then it may be sent to another member; that to another failure does not.
func TestRequestThatWasNotExecuted(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		header string
	}{
		{notExecuted{errors.New("removed")}, http.StatusServiceUnavailable, "true"},
		{errors.New("stopped"), http.StatusInternalServerError, ""},
	} {
		b := newTree(t, func() kv.ClusterTime { return kv.ClusterTime(time.Second) })
		b.fail = c.err
		h := New(Options{Backend: b})
		for _, r := range []*http.Request{
			httptest.NewRequest(http.MethodPut, "/v2/keys/k?value=v", http.NoBody),
			httptest.NewRequest(http.MethodGet, "/v2/keys/k?quorum=true", http.NoBody),
		} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != c.status || w.Header().Get("X-Etcd-Not-Executed") != c.header || !strings.Contains(w.Body.String(), "etcdserver: "+c.err.Error()) {
				t.Errorf("%s: status %d, header %v, body %s", r.Method, w.Code, w.Header(), w.Body)
			}
		}
	}
}
