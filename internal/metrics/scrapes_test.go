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
		fmt.Fprintf(w, "%s %d", r.URL.Query().Get("name[]"), n)
	}))
	get := func(ctx context.Context, name string) string {
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/metrics?name[]="+name, http.NoBody)
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
		for _, name := range []string{"text", "proto"} {
			all.Go(func() { texts <- get(t.Context(), name) })
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

// Whatever clients ask for, there are few formats, and few filters may wait: so thousands of
// requests that differ keep no scraper waiting.
func TestScrapeFormats(t *testing.T) {
	formats := map[string][]string{} // and the requests that have them
	for _, query := range []string{"", "?x=1", "?name[]=a&name[]=b", "?name[]=b&name[]=a&name[]=a"} {
		for _, accept := range []string{"", "text/plain", "text/plain;q=0.1,*/*", "application/x", "application/json;version=7"} {
			for _, encoding := range []string{"", "identity", "gzip;q=0", "br", "gzip", "deflate, GZIP;q=0.5", "*", "identity;q=0.1,gzip;q=1"} {
				r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics"+query, http.NoBody)
				r.Header.Set("Accept", accept)
				r.Header.Set("Accept-Encoding", encoding)
				same, format := normalized(r)
				formats[format] = append(formats[format], fmt.Sprint(query, accept, encoding))
				if _, again := normalized(same); again != format {
					t.Errorf("%q became %q", format, again)
				}
			}
		}
	}
	for format, requests := range formats {
		if len(formats) != 4 || len(requests) != 40 {
			t.Errorf("%d formats; %q has %q", len(formats), format, requests)
		}
	}
}

func TestScrapeFilters(t *testing.T) {
	h := newScrapes(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "names: ", r.URL.Query()["name[]"]) }))
	h.turn <- struct{}{} // another response is being made
	var waiting sync.WaitGroup
	get := func(target string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody))
		return w
	}
	for i := range filteredMax {
		waiting.Go(func() {
			if w := get(fmt.Sprint("/metrics?name[]=", i)); w.Body.String() != fmt.Sprintf("names: [%d]", i) {
				t.Errorf("filter %d got %q", i, w.Body)
			}
		})
	}
	waiting.Go(func() {
		if w := get("/metrics"); w.Body.String() != "names: []" {
			t.Errorf("without a filter: %q", w.Body)
		}
	})
	for n, _ := h.waitingFor(); n < filteredMax+1; n, _ = h.waitingFor() {
		runtime.Gosched()
	}
	if w := get("/metrics?name[]=more"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("another filter got %d %q", w.Code, w.Body)
	}
	<-h.turn
	waiting.Wait()
	if w := get("/metrics?name[]=more"); w.Code != http.StatusOK {
		t.Errorf("when the others were answered, the filter got %d %q", w.Code, w.Body)
	}
}
