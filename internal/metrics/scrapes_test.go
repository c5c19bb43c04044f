package metrics

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// waitingFor returns how many requests wait for a response that is not begun, and the formats.
func (h *scrapes) waitingFor() (requests, formats int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.waiting {
		requests += s.requests
	}
	return requests, len(h.waiting)
}

// Requests that arrive while a response is made share the next one of their format, which is not
// older than they are; those whose clients have disconnected are forgotten.
func TestScrapesShareResponses(t *testing.T) {
	var made atomic.Int64
	begun, release := make(chan struct{}, 1), make(chan struct{})
	h := newScrapes(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := made.Add(1)
		if n == 1 {
			begun <- struct{}{}
			<-release
		}
		fmt.Fprintf(w, "%s %d", r.Header.Get("Accept"), n)
	}))
	get := func(ctx context.Context, accept string) string {
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/metrics", nil)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Body.String()
	}
	var all sync.WaitGroup
	all.Go(func() {
		if got := get(t.Context(), "text"); got != "text 1" {
			t.Errorf("the first response is %q", got)
		}
	})
	<-begun
	const each = 50
	texts := make(chan string, 2*each)
	for range each {
		for _, accept := range []string{"text", "proto"} {
			all.Go(func() { texts <- get(t.Context(), accept) })
		}
	}
	gone, leave := context.WithCancel(t.Context())
	var left sync.WaitGroup
	for range each {
		left.Go(func() {
			if got := get(gone, "gone"); got != "" {
				t.Errorf("a client that has disconnected got %q", got)
			}
		})
	}
	for n, _ := h.waitingFor(); n < 3*each; n, _ = h.waitingFor() {
		runtime.Gosched()
	}
	leave()
	left.Wait()
	if n, formats := h.waitingFor(); n != 2*each || formats != 2 {
		t.Errorf("%d requests wait for %d formats", n, formats)
	}
	close(release)
	all.Wait()
	got := map[string]int{}
	for range 2 * each {
		got[<-texts]++
	}
	if n := made.Load(); n != 3 || len(got) != 2 {
		t.Errorf("%d responses were made, the clients got %v", n, got)
	}
	for text, n := range got {
		if n != each || text == "text 1" {
			t.Errorf("%d clients got %q", n, text)
		}
	}
	if n, _ := h.waitingFor(); n != 0 {
		t.Errorf("%d requests still wait", n)
	}
}
