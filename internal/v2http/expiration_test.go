package v2http

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"cairn/internal/kv"
)

// A node's expiration is the same whenever and wherever it is shown, although it is stored as
// cluster time, which drifts from the wall clock; only a step of one of the two changes it.
func TestExpirationStays(t *testing.T) {
	cluster, wall := time.Hour, time.Date(2017, 4, 10, 11, 46, 44, 0, time.UTC)
	s := newTree(t, func() kv.ClusterTime { return kv.ClusterTime(cluster) })
	h := New(Options{Backend: s})
	h.wall = func() time.Time { return wall }
	ask := func(method, target, body string) string {
		r := httptest.NewRequest(method, target, strings.NewReader(body))
		r.Header.Set("Content-Type", formType)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= http.StatusBadRequest {
			t.Fatalf("%s %s: %d %s", method, target, w.Code, w.Body)
		}
		return regexp.MustCompile(`"expiration":"([^"]*)"`).FindString(w.Body.String())
	}
	want := ask("PUT", "/v2/keys/a", "value=1&ttl=100")
	if !strings.Contains(want, "2017-04-10T11:48:24Z") {
		t.Fatal(want)
	}
	for range 5 {
		cluster += 3 * time.Second
		wall = wall.Add(3*time.Second + 7*time.Millisecond) // they drift
		if got := ask("GET", "/v2/keys/a", ""); got != want {
			t.Fatalf("%s, was %s", got, want)
		}
	}
	if got := ask("GET", "/v2/keys/?recursive=true", ""); got != want {
		t.Fatalf("%s in the list, was %s", got, want)
	}
	wall = wall.Add(time.Hour) // the clock was stepped
	if got := ask("GET", "/v2/keys/a", ""); !strings.Contains(got, "T12:48:24.035Z") {
		t.Fatalf("%s after the clock was set", got)
	}
}
