package metrics

import (
	"bytes"
	"maps"
	"net/http"
	"sync"
	"time"

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

	mu      sync.Mutex
	waiting map[string]*response // those not begun, by format; guarded by mu
}

// response is what some requests wait for.
type response struct {
	requests int // guarded by scrapes.mu
	made     recorded
	done     chan struct{} // closed when made is complete
}

const (
	// restFactor is how long scrapes rest, in times of the making of a response. A scrape takes a
	// millisecond, so that no scraper notices.
	restFactor = 3
	restMax    = 100 * time.Millisecond
)

func newScrapes(inner http.Handler) *scrapes {
	return &scrapes{inner: inner, turn: make(chan struct{}, 1), waiting: map[string]*response{}}
}

// ServeHTTP implements http.Handler.
func (h *scrapes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	format := r.Method + "\n" + r.Header.Get("Accept") + "\n" + r.Header.Get("Accept-Encoding")
	s := h.join(format)
	select {
	case <-s.done:
	case h.turn <- struct{}{}:
		h.makeInTurn(s, format, r)
	case <-r.Context().Done():
		h.leave(s, format)
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

// join returns the scrape of a format that is not begun.
func (h *scrapes) join(format string) *response {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.waiting[format]
	if s == nil {
		s = &response{made: recorded{header: make(http.Header), code: http.StatusOK}, done: make(chan struct{})}
		h.waiting[format] = s
	}
	s.requests++
	return s
}

// leave removes a request from the scrape that it waits for.
func (h *scrapes) leave(s *response, format string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.requests--; s.requests == 0 && h.waiting[format] == s {
		delete(h.waiting, format)
	}
}

// makeInTurn makes a response, unless another request has made it, and ends the caller's turn.
func (h *scrapes) makeInTurn(s *response, format string, r *http.Request) {
	h.mu.Lock()
	begun := h.waiting[format] != s
	if !begun {
		delete(h.waiting, format) // later requests get a later response
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
