package metrics

import (
	"bytes"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/expfmt"

	"cairn/internal/budget"
)

// scrapes serves the metrics to any number of clients: it makes one response at a time, with a rest
// before the next one, and those that wait meanwhile for the same format share the next one. So
// thousands of scrapes take a quarter of a processor and the memory of one response, and a client
// that does not read its response keeps no other one waiting. Nothing is cached: a response is made
// after its request has arrived.
type scrapes struct {
	inner http.Handler
	turn  chan struct{} // held while a response is made, and during the rest

	mu sync.Mutex
	// guarded by mu: the responses that are not begun
	waiting  map[string]*response // by format
	filtered int                  // those with a filter
}

// response is what some requests wait for.
type response struct {
	format   string
	filtered bool
	requests int // guarded by scrapes.mu
	made     recorded
	done     chan struct{} // closed when made is complete
}

const (
	// restFactor is how long scrapes rest, in times of the making of a response. A scrape takes a
	// millisecond, so that no scraper notices.
	restFactor = 3
	restMax    = 100 * time.Millisecond
	// filteredMax is how many different filters may wait. There are a few dozen formats, and any
	// number of filters: without a limit they would take all turns.
	filteredMax = 16
)

func newScrapes(inner http.Handler) *scrapes {
	return &scrapes{inner: inner, turn: make(chan struct{}, 1), waiting: map[string]*response{}}
}

// ServeHTTP implements http.Handler.
func (h *scrapes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r, format := normalized(r)
	s := h.join(format, r.URL.RawQuery != "")
	if s == nil {
		http.Error(w, "too many requests for metrics with different filters (name[]) are waiting: try again, or leave the filter out", http.StatusServiceUnavailable)
		return
	}
	select {
	case <-s.done:
	case h.turn <- struct{}{}:
		h.makeInTurn(s, r)
	case <-r.Context().Done():
		h.leave(s)
		return
	}
	account, size := budget.FromContext(r.Context()), int64(s.made.body.Cap())
	if !account.TryTake(size) {
		http.Error(w, budget.ErrExhausted.Error(), http.StatusServiceUnavailable)
		return
	}
	defer account.Give(size)
	maps.Copy(w.Header(), s.made.header)
	w.WriteHeader(s.made.code)
	_, _ = w.Write(s.made.body.Bytes()) // the client may have disconnected
}

// normalized returns a request that has the same response, and the name of its format: requests
// with the same name have the same response.
func normalized(r *http.Request) (same *http.Request, format string) {
	same = r.WithContext(r.Context())
	same.URL = &url.URL{Path: r.URL.Path}
	filter := r.URL.Query()["name[]"]
	if len(filter) > 0 {
		slices.Sort(filter)
		same.URL.RawQuery = url.Values{"name[]": slices.Compact(filter)}.Encode()
	}
	same.Method = http.MethodGet // the server leaves the body out of responses to HEAD
	encoding := "identity"
	if acceptsGzip(r.Header.Values("Accept-Encoding")) {
		encoding = "gzip"
	}
	same.Header = http.Header{"Accept": r.Header["Accept"], "Accept-Encoding": {encoding}}
	return same, string(expfmt.NegotiateAccept(r.Header, expfmt.DefaultAcceptedFormats()...)) + "\n" + encoding + "\n" + same.URL.RawQuery
}

// acceptsGzip reports whether the values of Accept-Encoding prefer gzip to no compression (RFC
// 9110, 12.5.3).
func acceptsGzip(values []string) bool {
	weights := map[string]float64{}
	for _, coding := range strings.Split(strings.Join(values, ","), ",") {
		name, parameters, _ := strings.Cut(coding, ";")
		weight := 1.0
		if text, ok := strings.CutPrefix(strings.TrimSpace(parameters), "q="); ok {
			weight, _ = strconv.ParseFloat(text, 64) // a wrong one is 0: refused
		}
		weights[strings.ToLower(strings.TrimSpace(name))] = weight
	}
	gzip, ok := weights["gzip"]
	if !ok {
		gzip = weights["*"]
	}
	return gzip > 0 && gzip >= weights["identity"]
}

// join returns the response of a format that is not begun; nil if too many filters are waiting.
func (h *scrapes) join(format string, filtered bool) *response {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.waiting[format]
	if s == nil {
		if filtered && h.filtered >= filteredMax {
			return nil
		}
		s = &response{format: format, filtered: filtered, done: make(chan struct{})}
		s.made = recorded{header: make(http.Header), code: http.StatusOK}
		h.waiting[format] = s
		if filtered {
			h.filtered++
		}
	}
	s.requests++
	return s
}

// leave removes a request from the response that it waits for.
func (h *scrapes) leave(s *response) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.requests--; s.requests == 0 && h.waiting[s.format] == s {
		h.removeLocked(s)
	}
}

func (h *scrapes) removeLocked(s *response) {
	delete(h.waiting, s.format)
	if s.filtered {
		h.filtered--
	}
}

// makeInTurn makes a response, unless another request has made it, and ends the caller's turn.
func (h *scrapes) makeInTurn(s *response, r *http.Request) {
	h.mu.Lock()
	begun := h.waiting[s.format] != s
	if !begun {
		h.removeLocked(s) // later requests get a later response
	}
	h.mu.Unlock()
	if begun {
		<-h.turn
		return // done is closed: the turn of its maker has ended
	}
	began := time.Now()
	defer func() { // also after a panic
		close(s.done)
		time.AfterFunc(min(restFactor*time.Since(began), restMax), func() { <-h.turn })
	}()
	h.inner.ServeHTTP(&s.made, r)
}

// recorded is a response in memory.
type recorded struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (r *recorded) Header() http.Header { return r.header }

// WriteHeader implements http.ResponseWriter.
func (r *recorded) WriteHeader(code int) { r.code = code }

// Write implements http.ResponseWriter.
func (r *recorded) Write(p []byte) (int, error) { return r.body.Write(p) }
