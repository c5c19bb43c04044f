package metrics

import (
	"bytes"
	"maps"
	"net/http"

	"cairn/internal/budget"
)

// oneAtATime returns a handler that makes one response at a time, since a scrape takes milliseconds
// of a processor. A response is sent after the next one may be made, so that a slow client delays
// no other one; meanwhile it counts in the account of its connection.
func oneAtATime(h http.Handler) http.Handler {
	turn := make(chan struct{}, 1)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case turn <- struct{}{}:
		case <-r.Context().Done():
			return
		}
		made := recorded{header: make(http.Header), code: http.StatusOK}
		func() {
			defer func() { <-turn }()
			h.ServeHTTP(&made, r)
		}()
		account, size := budget.FromContext(r.Context()), int64(made.body.Cap())
		if !account.TryTake(size) {
			http.Error(w, budget.ErrExhausted.Error(), http.StatusServiceUnavailable)
			return
		}
		defer account.Give(size)
		maps.Copy(w.Header(), made.header)
		w.WriteHeader(made.code)
		_, _ = w.Write(made.body.Bytes()) // the client may have disconnected
	})
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
