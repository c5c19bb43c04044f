package httpbridge

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"cairn/internal/budget"
	"cairn/internal/http2"
)

// responseWriter is the http.ResponseWriter of an exchange. It buffers up to responseBufferMax
// bytes of a body, so that a short response gets a Content-Length.
type responseWriter struct {
	x      *exchange
	header http.Header
	code   int
	buf    bytes.Buffer
	sent   bool // headers were sent
	head   bool // response to HEAD: no body
	length int64
	pace   budget.Pace
}

// EnableFullDuplex is for http.ResponseController: the body may take any time. It is always read
// while the response is written.
func (w *responseWriter) EnableFullDuplex() error {
	w.x.duplex.Store(true)
	return nil
}

// waitQueue waits until the client has taken enough of what was written before n further bytes.
func (w *responseWriter) waitQueue(n int) error {
	o, begun := &w.x.srv.opts, time.Now()
	err := w.x.WaitQueueWithin(w.pace.Limit(o.Timeout, o.LeastRate))
	w.pace.Add(time.Since(begun), n)
	return err
}

const responseBufferMax = 4 << 10

// Header implements http.ResponseWriter.
func (w *responseWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *responseWriter) WriteHeader(code int) {
	if w.code != 0 {
		return
	}
	if code < 100 || code > 999 {
		panic(fmt.Sprintf("httpbridge: invalid WriteHeader code %d", code))
	}
	if code < 200 {
		return // informational responses are not passed on
	}
	w.code = code
}

// Write implements http.ResponseWriter. It waits while the client does not read.
func (w *responseWriter) Write(p []byte) (int, error) {
	if w.code == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.code == http.StatusNoContent || w.code == http.StatusNotModified {
		return 0, http.ErrBodyNotAllowed
	}
	w.length += int64(len(p))
	if w.head {
		return len(p), nil
	}
	if w.buf.Len()+len(p) < responseBufferMax {
		return w.buf.Write(p)
	}
	if err := w.push(w.buf.Bytes()); err != nil {
		return 0, err
	}
	w.buf.Reset()
	if err := w.push(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteString implements io.StringWriter.
func (w *responseWriter) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

// Flush implements http.Flusher.
func (w *responseWriter) Flush() { _ = w.FlushError() }

// FlushError is Flush for http.ResponseController.
func (w *responseWriter) FlushError() error {
	if w.code == 0 {
		w.WriteHeader(http.StatusOK)
	}
	err := w.push(w.buf.Bytes())
	w.buf.Reset()
	return err
}

// push sends the headers unless they were sent, then p in pieces.
func (w *responseWriter) push(p []byte) error {
	x := w.x
	for {
		n := min(len(p), http2.QueueBytesMax)
		if err := w.waitQueue(n); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) { // what is queued is not waited for either
				x.Lock()
				x.ResetLocked(http2.ResetCalm)
				x.Flush(false)
			}
			return err
		}
		if n > http2.CopyBytesMax {
			if err := x.WaitRoom(n, http2.NotTaken); err != nil {
				return err
			}
		}
		x.Lock()
		if x.EndedLocked() {
			x.Unlock()
			return x.EndError()
		}
		w.headLocked(p, false)
		if n > 0 {
			var owned *http2.Buffer
			if n > http2.CopyBytesMax {
				owned = http2.NewBuffer(n)
				owned.B = append(owned.B, p[:n]...)
				x.SendLocked(owned.B, owned)
			} else {
				x.SendLocked(p[:n], nil)
			}
		}
		x.Flush(false)
		if p = p[n:]; len(p) == 0 {
			return nil
		}
	}
}

// headLocked sends the response's headers unless they were sent. sample is the beginning of the
// body, from which a missing Content-Type is derived.
func (w *responseWriter) headLocked(sample []byte, end bool) {
	if w.sent {
		return
	}
	w.sent = true
	x := w.x
	x.mu.Lock()
	x.headSent = true
	x.mu.Unlock()
	if _, set := w.header["Content-Type"]; !set && len(sample) > 0 && w.header.Get("Content-Encoding") == "" {
		w.header.Set("Content-Type", http.DetectContentType(sample))
	}
	if _, set := w.header["Date"]; !set {
		w.header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	}
	b := http2.AppendStatus(x.BeginLocked(), w.code)
	for name, values := range w.header {
		name = strings.ToLower(name)
		if strings.HasPrefix(name, "trailer") {
			continue
		}
		for _, v := range values {
			if http2.Sendable(name, v) {
				b = http2.AppendField(b, name, v)
			}
		}
	}
	x.HeadersLocked(b, end)
}

// finish sends the buffered rest when the handler has returned.
func (w *responseWriter) finish() {
	x := w.x
	if w.code == 0 {
		w.WriteHeader(http.StatusOK)
	}
	bodyless := w.head || w.code == http.StatusNoContent || w.code == http.StatusNotModified
	if _, set := w.header["Content-Length"]; !set && !w.sent && (w.length > 0 || !bodyless) {
		w.header.Set("Content-Length", strconv.FormatInt(w.length, 10))
	}
	if w.buf.Len() > 0 {
		if w.push(w.buf.Bytes()) != nil {
			w.sent = true // the stream has ended
		}
	}
	x.LockServed(false)
	if !x.EndedLocked() && !w.sent {
		w.headLocked(nil, true)
		x.CloseLocked()
	} else {
		x.FinishLocked()
	}
	x.UnlockServed()
}
