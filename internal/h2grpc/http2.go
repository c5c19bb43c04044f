package h2grpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// HTTP requests that are not gRPC but come over HTTP/2 are answered on the same connection,
// by a bridge from a stream to http.Request and http.ResponseWriter. Handing the connection
// to another HTTP/2 server would need its SETTINGS and compression state to be moved, and
// would not serve a connection that carries both. The bridge has what handlers of an API
// need: bodies with flow control, Flush, cancellation. It has no push and no trailers.

// receiveBody queues a copy of the body's bytes. It runs on the reader.
func (st *stream) receiveBody(p []byte, end bool) {
	var m received
	if len(p) > 0 {
		m.buf = newBuffer(len(p))
		m.buf.b = append(m.buf.b, p...)
		if !st.hold(len(p)) {
			m.buf.free()
			return
		}
	}
	var fin error
	if end {
		fin = io.EOF
	}
	st.push(m, fin)
}

// serveHTTP runs the handler for a stream that is not gRPC.
func (st *stream) serveHTTP() {
	c := st.conn
	w := &responseWriter{st: st, header: make(http.Header)}
	h := c.srv.opts.HTTP
	req, err := st.httpRequest()
	switch {
	case h == nil:
		http.Error(w, fmt.Sprintf("invalid gRPC request content-type %q", st.head.contentType), http.StatusUnsupportedMediaType)
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	default:
		w.head = req.Method == http.MethodHead
		if !st.runHandler(h, w, req) {
			c.mu.Lock()
			st.handlerDoneLocked()
			c.resetLocked(st, errInternal)
			c.flushLocked(false)
			return
		}
	}
	w.finish()
	st.freeQueue()
}

// runHandler reports false when the handler panicked, which net/http survives too.
func (st *stream) runHandler(h http.Handler, w http.ResponseWriter, req *http.Request) (ok bool) {
	defer func() {
		r := recover()
		if err, is := r.(error); r == nil || (is && errors.Is(err, http.ErrAbortHandler)) {
			return
		}
		st.conn.srv.opts.Logger.Error("http handler panic", "path", req.URL.Path, "panic", r, "stack", string(debug.Stack()))
	}()
	h.ServeHTTP(w, req)
	return true
}

func (st *stream) httpRequest() (*http.Request, error) {
	u, err := url.ParseRequestURI(st.head.path)
	if st.head.path == "*" {
		u, err = &url.URL{Path: "*"}, nil
	}
	if err != nil {
		return nil, err
	}
	c := st.conn
	req := &http.Request{
		Method: st.req.httpMethod, URL: u, Proto: "HTTP/2.0", ProtoMajor: 2, Header: make(http.Header),
		Host: st.req.authority, RequestURI: st.head.path, RemoteAddr: c.nc.RemoteAddr().String(), TLS: c.tls,
		ContentLength: -1, Body: http.NoBody,
	}
	for i := range st.head.fields {
		f := &st.head.fields[i]
		if f.kind == fieldAuthority {
			continue
		}
		name := textproto.CanonicalMIMEHeaderKey(f.name)
		if name == "Cookie" && req.Header.Get(name) != "" { // RFC 9113, 8.2.3
			req.Header.Set(name, req.Header.Get(name)+"; "+f.value)
			continue
		}
		req.Header[name] = append(req.Header[name], f.value)
	}
	if v := req.Header.Get("Content-Length"); v != "" {
		if req.ContentLength, err = strconv.ParseInt(v, 10, 64); err != nil || req.ContentLength < 0 {
			return nil, fmt.Errorf("invalid content-length %q", v)
		}
	}
	st.mu.Lock()
	empty := len(st.queue) == 0 && errors.Is(st.queueEnd, io.EOF)
	st.mu.Unlock()
	if empty {
		if req.ContentLength > 0 {
			return nil, fmt.Errorf("content-length %d but no body", req.ContentLength)
		}
		req.ContentLength = 0
	} else {
		req.Body = &requestBody{st: st, declared: req.ContentLength}
	}
	ctx := context.WithValue(context.Context(&st.ctx), http.LocalAddrContextKey, c.nc.LocalAddr())
	return req.WithContext(ctx), nil
}

// requestBody reads a stream's DATA.
type requestBody struct {
	st        *stream
	cur       received
	read      int64
	declared  int64 // -1: unknown
	continued bool
}

func (b *requestBody) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if b.cur.buf == nil {
		b.sendContinue()
		m, err := b.st.nextChunk()
		if err != nil {
			if errors.Is(err, io.EOF) && b.declared >= 0 && b.read != b.declared {
				return 0, io.ErrUnexpectedEOF
			}
			return 0, err
		}
		b.cur = m
	}
	n := copy(p, b.cur.buf.b[b.cur.off:])
	b.cur.off += n
	b.read += int64(n)
	b.st.credit(n)
	if b.cur.off == len(b.cur.buf.b) {
		b.cur.buf.free()
		b.cur = received{}
	}
	if b.declared >= 0 && b.read > b.declared {
		return 0, fmt.Errorf("body longer than content-length %d", b.declared)
	}
	return n, nil
}

// sendContinue answers "Expect: 100-continue" when the handler begins to read.
func (b *requestBody) sendContinue() {
	if b.continued {
		return
	}
	b.continued = true
	st, c := b.st, b.st.conn
	for i := range st.head.fields {
		if f := &st.head.fields[i]; f.name == "expect" && strings.EqualFold(f.value, "100-continue") {
			c.mu.Lock()
			st.mu.Lock()
			sent := st.headSent
			st.mu.Unlock()
			if !sent && !st.gone {
				c.out.headers(st.id, appendStatus(c.out.hpack.begin(nil), http.StatusContinue), 0)
			}
			c.flushLocked(false)
		}
	}
}

func (b *requestBody) Close() error { return nil }

// nextChunk is next without the credit, which Read gives as the bytes are taken.
func (st *stream) nextChunk() (received, error) {
	for {
		m, ok, end := st.pop()
		if ok || end != nil {
			return m, end
		}
		<-st.wake
	}
}

// responseWriter answers a request of the bridge. The first bytes are kept back until there
// are responseBufferMax of them, so that a short answer gets a Content-Length.
type responseWriter struct {
	st     *stream
	header http.Header
	code   int
	buf    bytes.Buffer
	sent   bool // headers are out
	head   bool // answer to HEAD: no body
	length int64
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
		panic(fmt.Sprintf("h2grpc: invalid WriteHeader code %d", code))
	}
	if code < 200 {
		return // informational answers are not passed on
	}
	w.code = code
}

// Write implements http.ResponseWriter. It waits while the client takes nothing.
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

// WriteString spares io.WriteString a copy.
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

// push sends headers if need be, then p in pieces.
func (w *responseWriter) push(p []byte) error {
	st, c := w.st, w.st.conn
	for {
		n := min(len(p), streamQueueMax)
		if err := st.waitQueue(); err != nil {
			return err
		}
		c.mu.Lock()
		if st.gone {
			c.mu.Unlock()
			return st.goneError()
		}
		w.headLocked(p, false)
		if n > 0 {
			var owned *buffer
			if n > copyBytesMax {
				owned = newBuffer(n)
				owned.b = append(owned.b, p[:n]...)
				c.sendLocked(st, owned.b, owned)
			} else {
				c.sendLocked(st, p[:n], nil)
			}
		}
		c.flushLocked(false)
		if p = p[n:]; len(p) == 0 {
			return nil
		}
	}
}

// headLocked sends the response's headers unless they are out. sample is the beginning of the
// body, for its type.
func (w *responseWriter) headLocked(sample []byte, end bool) {
	if w.sent {
		return
	}
	w.sent = true
	st, o := w.st, &w.st.conn.out
	st.mu.Lock()
	st.headSent = true
	st.mu.Unlock()
	if _, set := w.header["Content-Type"]; !set && len(sample) > 0 && w.header.Get("Content-Encoding") == "" {
		w.header.Set("Content-Type", http.DetectContentType(sample))
	}
	if _, set := w.header["Date"]; !set {
		w.header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	}
	b := appendStatus(o.hpack.begin(o.block[:0]), w.code)
	for name, values := range w.header {
		name = strings.ToLower(name)
		if !validName(name) || kindOfName(name) == fieldForbidden || strings.HasPrefix(name, "trailer") {
			continue
		}
		for _, v := range values {
			if validValue(v) {
				b = appendField(b, name, v)
			}
		}
	}
	o.block = b
	flags := uint8(0)
	if end {
		flags = flagEndStream
	}
	o.headers(st.id, b, flags)
	st.conn.noteProgress()
}

// finish sends what is left when the handler has returned.
func (w *responseWriter) finish() {
	st, c := w.st, w.st.conn
	if w.code == 0 {
		w.WriteHeader(http.StatusOK)
	}
	bodyless := w.head || w.code == http.StatusNoContent || w.code == http.StatusNotModified
	if _, set := w.header["Content-Length"]; !set && !w.sent && (w.length > 0 || !bodyless) {
		w.header.Set("Content-Length", strconv.FormatInt(w.length, 10))
	}
	if w.buf.Len() > 0 {
		if w.push(w.buf.Bytes()) != nil {
			w.sent = true // the stream has gone
		}
	}
	c.mu.Lock()
	st.handlerDoneLocked()
	switch {
	case st.gone:
	case !w.sent:
		w.headLocked(nil, true)
		c.closeLocalLocked(st)
	default:
		st.final = finalState{set: true, http: true}
		if len(st.outq) == 0 {
			c.endLocked(st)
		} else {
			c.out.enqueue(st)
		}
	}
	c.flushLocked(false)
}

// appendStatus appends the :status pseudo-header.
func appendStatus(b []byte, code int) []byte {
	if code == http.StatusOK {
		return append(b, 0x88)
	}
	b = append(b, 0x08) // literal, name 8 of the static table
	return appendHPACKString(b, strconv.Itoa(code))
}
