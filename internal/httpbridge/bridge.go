// Package httpbridge serves requests over HTTP/2 with an http.Handler.
//
// It is an http2.Protocol, so that one connection can carry both gRPC and plain HTTP requests:
// transferring the connection to another HTTP/2 server would require transferring its SETTINGS and
// compression state. It supports what the handlers of an API need: bodies with flow control, Flush,
// cancellation, "Expect: 100-continue". It does not support push, trailers and hijacking.
//
// A client that sends nothing of a body, or takes nothing of a response, for Options.Timeout, or
// that falls below Options.LeastRate, is cut off as in package http1, unless the handler has made
// the request a conversation (http.ResponseController.EnableFullDuplex): its body may take any
// time.
//
// Invariants: a handler runs at most once per request; a response's headers are sent once, before
// its body; a response with a declared length has exactly that length.
//
// Concurrency: each request has one handler goroutine and is fed by the reader of its connection.
package httpbridge

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/textproto"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cairn/internal/budget"
	"cairn/internal/http2"
)

// Options configures a Server.
type Options struct {
	// Handler serves all requests.
	Handler http.Handler
	// Timeout limits how long no byte of a body comes, and how long the client takes nothing of a
	// response that waits for it (0: 60 s).
	Timeout time.Duration
	// LeastRate is how many bytes per second a client must send of a body, or take of a response,
	// on average over the time in which the server waits for it, beyond the first Timeout (0: 512).
	LeastRate int64
	// Logger gets the panics of handlers. nil discards.
	Logger *slog.Logger
}

// Server is an http2.Protocol that calls an http.Handler.
type Server struct{ opts Options }

var _ http2.Protocol = (*Server)(nil)

// New returns a server.
func New(o Options) *Server {
	if o.Timeout <= 0 {
		o.Timeout = time.Minute
	}
	if o.LeastRate <= 0 {
		o.LeastRate = 512
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{o}
}

// Accept implements http2.Protocol.
func (s *Server) Accept(c *http2.Conn) http2.ConnHandler { return &connection{srv: s, conn: c} }

type connection struct {
	srv  *Server
	conn *http2.Conn
}

// Open implements http2.ConnHandler.
func (c *connection) Open(r *http2.Request) http2.Handler {
	x := &exchange{srv: c.srv, local: c.conn.LocalAddr()}
	if r.Exhausted {
		x.bad, x.code = budget.ErrExhausted, http.StatusTooManyRequests
		return x
	}
	x.code = http.StatusBadRequest
	x.req, x.bad = c.request(r)
	return x
}

// request makes an http.Request without a body.
func (c *connection) request(r *http2.Request) (*http.Request, error) {
	if r.TooLarge {
		return nil, fmt.Errorf("header list larger than %d bytes", c.conn.HeaderBytesMax())
	}
	u, err := url.ParseRequestURI(r.Path)
	if r.Path == "*" {
		u, err = &url.URL{Path: "*"}, nil
	}
	if err != nil {
		return nil, errors.New("malformed path") // which is not repeated: it may be long
	}
	req := &http.Request{
		Method: r.Method, URL: u, Proto: "HTTP/2.0", ProtoMajor: 2, Header: make(http.Header, len(r.Fields)),
		Host: r.Authority, RequestURI: r.Path, RemoteAddr: c.conn.RemoteAddr().String(), TLS: c.conn.TLS(),
		ContentLength: r.ContentLength, Body: http.NoBody,
	}
	for i := range r.Fields {
		f := &r.Fields[i]
		name := textproto.CanonicalMIMEHeaderKey(f.Name)
		if name == "Cookie" && req.Header.Get(name) != "" { // RFC 9113, 8.2.3
			req.Header.Set(name, req.Header.Get(name)+"; "+f.Value)
			continue
		}
		req.Header[name] = append(req.Header[name], f.Value)
	}
	return req, nil
}

// exchange is one request and its response.
type exchange struct {
	http2.Stream
	srv   *Server
	local any // the net.Addr for http.LocalAddrContextKey
	req   *http.Request
	bad   error // why req is nil
	code  int   // the HTTP status that belongs to bad

	duplex atomic.Bool // the request is a conversation

	mu       sync.Mutex // guards headSent
	headSent bool
}

// Started implements http2.Handler.
func (x *exchange) Started(bool) { x.Run() }

// Received implements http2.Handler: it queues a copy of the body's bytes.
func (x *exchange) Received(p []byte, end bool) (inline bool) {
	if len(p) > 0 && !x.PushBytes(p) {
		x.Discard()
		x.Lock()
		x.ResetLocked(http2.ResetCalm)
		x.UnlockReader()
		return false
	}
	if end {
		x.Push(http2.Received{}, io.EOF)
	}
	return false
}

// Value implements http2.Handler.
func (x *exchange) Value(key any) any {
	if key == http.LocalAddrContextKey {
		return x.local
	}
	return nil
}

// AppendEnd implements http2.Handler.
func (x *exchange) AppendEnd() { x.EmptyDataLocked() }

// Serve implements http2.Handler.
func (x *exchange) Serve(*http2.Worker) (reading bool) {
	w := &responseWriter{x: x, header: make(http.Header)}
	if x.bad != nil {
		http.Error(w, x.bad.Error(), x.code)
	} else {
		x.setBody()
		w.head = x.req.Method == http.MethodHead
		if !x.runHandler(w) {
			x.LockServed(false)
			x.ResetLocked(http2.ResetInternal)
			x.UnlockServed()
			x.FreeQueue()
			return false
		}
	}
	w.finish()
	x.FreeQueue()
	return false
}

// setBody gives the request its body and context.
func (x *exchange) setBody() {
	if x.EmptyBody() {
		x.req.ContentLength = 0
	} else {
		x.req.Body = &requestBody{x: x}
	}
	x.req = x.req.WithContext(x.Context())
}

// runHandler reports false when the handler panicked. The server survives that, as net/http's does.
func (x *exchange) runHandler(w http.ResponseWriter) (ok bool) {
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		if err, is := r.(error); is && errors.Is(err, http.ErrAbortHandler) {
			return
		}
		x.srv.opts.Logger.Error("http handler panic", "path", x.req.URL.Path, "panic", r, "stack", string(debug.Stack()))
	}()
	x.srv.opts.Handler.ServeHTTP(w, x.req)
	return true
}

// requestBody reads a request's DATA.
type requestBody struct {
	x         *exchange
	cur       http2.Received
	continued bool
	pace      budget.Pace
}

// next waits for more of the body.
func (b *requestBody) next() (http2.Received, error) {
	if b.x.duplex.Load() {
		return b.x.Next()
	}
	o, begun := &b.x.srv.opts, time.Now()
	m, err := b.x.NextWithin(b.pace.Limit(o.Timeout, o.LeastRate))
	if err == nil {
		b.pace.Add(time.Since(begun), len(m.Buf.B)-m.Off)
	}
	return m, err
}

// Read implements io.Reader.
func (b *requestBody) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if b.cur.Buf == nil {
		b.sendContinue()
		m, err := b.next()
		if err != nil {
			return 0, err
		}
		b.cur = m
	}
	n := copy(p, b.cur.Buf.B[b.cur.Off:])
	b.cur.Off += n
	b.x.Credit(n)
	if b.cur.Off == len(b.cur.Buf.B) {
		b.cur.Buf.Free()
		b.cur = http2.Received{}
	}
	return n, nil
}

// sendContinue sends status 100 to a client that expects it, when the handler begins to read.
func (b *requestBody) sendContinue() {
	if b.continued {
		return
	}
	b.continued = true
	x := b.x
	if !strings.EqualFold(x.req.Header.Get("Expect"), "100-continue") {
		return
	}
	x.Lock()
	x.mu.Lock()
	sent := x.headSent
	x.mu.Unlock()
	if !sent && !x.EndedLocked() {
		x.HeadersLocked(http2.AppendStatus(x.BeginLocked(), http.StatusContinue), false)
	}
	x.Flush(false)
}

// Close implements io.Closer. The rest of the body is dropped with the stream.
func (b *requestBody) Close() error { return nil }
