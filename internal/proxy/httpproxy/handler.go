package httpproxy

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"cairn/internal/proxy/relay"
)

const (
	// bodyHeldBytes is the maximum size of a request body that is held in memory, so that the
	// request can be sent to another member.
	bodyHeldBytes = 64 << 10
	copyBytes     = 32 << 10
	// respondAtOnce is the time that a long poll waits with its buffer for the response.
	respondAtOnce = 10 * time.Millisecond
)

// hopByHop are header fields of one connection (RFC 9110, 7.6.1), and Expect, which this side has
// processed.
var hopByHop = map[string]bool{
	"Connection": true, "Proxy-Connection": true, "Keep-Alive": true, "Proxy-Authenticate": true, "Proxy-Authorization": true,
	"Te": true, "Trailer": true, "Transfer-Encoding": true, "Upgrade": true, "Expect": true, "Content-Length": true,
}

// forwarded is a request that is being forwarded.
type forwarded struct {
	p *Proxy
	w http.ResponseWriter
	r *http.Request

	body []byte // held
	// of a body that is too long to be held, or may be endless; nil otherwise
	rest     io.Reader
	chunked  bool // the length of the body is unknown
	streams  bool // the response may take any time
	upgrades bool

	since  time.Time // when it arrived
	begun  bool      // the client has the header of a poll that is continued
	target string    // of the continued poll's request

	tried int
	last  error // of the previous attempt
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == configPath {
		p.serveConfig(w, r)
		return
	}
	f := &forwarded{p: p, w: w, r: r, since: time.Now()}
	if err := f.readBody(); err != nil {
		refuse(w, http.StatusBadRequest, fmt.Errorf("read the request's body: %w", err))
		return
	}
	if p.ReadOnly {
		if err := f.checkReadOnly(); err != nil {
			refuse(w, http.StatusNotImplemented, err)
			return
		}
	}
	f.forward()
}

// readBody reads a short body. A body of JSON streams may continue as long as the response does.
func (f *forwarded) readBody() error {
	r := f.r
	isV3 := strings.HasPrefix(r.URL.Path, "/v3")
	f.upgrades = r.Header.Get("Upgrade") != "" && r.ProtoMajor == 1
	f.streams = isV3 && (strings.HasSuffix(r.URL.Path, "/watch") || strings.HasSuffix(r.URL.Path, "/keepalive") || strings.HasSuffix(r.URL.Path, "/observe")) ||
		r.Method == http.MethodGet && isTrue(r.URL.Query(), "wait")
	switch {
	case r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody:
		return nil
	case isV3 && r.ContentLength < 0:
		f.rest, f.chunked = r.Body, true
		return nil
	}
	limit := int64(bodyHeldBytes)
	if r.ContentLength >= 0 {
		limit = min(limit, r.ContentLength)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return err
	}
	f.body = body
	if int64(len(body)) > limit {
		f.rest, f.chunked = r.Body, r.ContentLength < 0
	} else if r.ContentLength > int64(len(body)) {
		f.rest = r.Body
	}
	return nil
}

func isTrue(query map[string][]string, name string) bool {
	b, err := strconv.ParseBool(strings.Join(query[name], ""))
	return err == nil && b
}

// isSafe reports whether the request may be sent a second time although the first one may have been
// carried out.
func (f *forwarded) isSafe() bool {
	return f.rest == nil && (f.r.Method == http.MethodGet || f.r.Method == http.MethodHead || f.r.Method == "QGET")
}

// forward sends the request to one member after the other until one responds.
func (f *forwarded) forward() {
	if !f.isSafe() {
		f.p.awaitLeader(f.r.Context())
	}
	members := f.p.members.attempts()
	for e := members.next(); e != nil; e = members.next() {
		f.tried++
		c, err := f.p.connect(f.r.Context(), e)
		if err != nil {
			f.last = err
			f.p.members.fail(e, err)
			continue
		}
		if f.upgrades {
			f.upgrade(c)
			return
		}
		if again := f.exchange(c); !again {
			return
		}
	}
	if f.begun {
		panic(http.ErrAbortHandler)
	}
	code := http.StatusBadGateway
	if f.tried == 0 {
		code = http.StatusServiceUnavailable
	}
	refuse(f.w, code, unavailable(f.tried, f.last))
}

// exchange sends the request over a connection and forwards the response. It reports whether to try
// another member.
func (f *forwarded) exchange(c *conn) (again bool) {
	whole := f.rest == nil
	if err := c.send(f.head(whole)); err != nil {
		c.Close()
		return f.broken(c, err, !whole)
	}
	var sent *sync.WaitGroup
	if !whole {
		sent = new(sync.WaitGroup)
		_ = http.NewResponseController(f.w).EnableFullDuplex() // HTTP/2 always is
		sent.Go(func() { f.sendRest(c) })
		defer sent.Wait() // the body must not be read after the handler has returned
		defer c.Close()
	}
	if w, ok := f.w.(parker); ok && whole && f.streams && c.raw != nil && w.Parks() {
		return f.poll(c, w)
	}
	if f.streams || !whole {
		stop := context.AfterFunc(f.r.Context(), func() { c.Close() })
		defer stop()
	}
	return f.respond(c)
}

// broken records that a member has failed before it responded, and reports whether to try another
// one. If not, it has sent the response.
func (f *forwarded) broken(c *conn, err error, begun bool) (again bool) {
	f.last = err
	if f.r.Context().Err() != nil {
		return false // the client has disconnected
	}
	f.p.members.fail(c.e, err)
	if f.isSafe() && !begun {
		return true
	}
	refuse(f.w, http.StatusBadGateway,
		fmt.Errorf("the connection to %s broke before it responded: %w; the request may have been carried out", c.e.url, err))
	return false
}

// head returns the request's head, and the part of the body that is held.
func (f *forwarded) head(whole bool) []byte {
	r := f.r
	target := cmp.Or(f.target, r.RequestURI)
	if !strings.HasPrefix(target, "/") {
		target = r.URL.RequestURI()
	}
	b := make([]byte, 0, 512+len(target)+len(f.body))
	b = append(append(append(append(b, r.Method...), ' '), target...), " HTTP/1.1\r\nHost: "...)
	b = append(append(b, r.Host...), "\r\n"...)
	for name, values := range r.Header {
		ofUpgrade := f.upgrades && (name == "Connection" || name == "Upgrade")
		if hopByHop[name] && !ofUpgrade || name == "X-Forwarded-For" {
			continue
		}
		for _, v := range values {
			b = appendField(b, name, v)
		}
	}
	if from, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		b = appendField(b, "X-Forwarded-For", strings.Join(append(r.Header["X-Forwarded-For"], from), ", "))
	}
	switch {
	case f.chunked && !whole:
		b = append(b, "Transfer-Encoding: chunked\r\n\r\n"...)
		if len(f.body) > 0 {
			b = appendChunk(b, f.body)
		}
		return b
	case !whole:
		b = appendField(b, "Content-Length", strconv.FormatInt(r.ContentLength, 10))
	case len(f.body) > 0 || r.Method == http.MethodPut || r.Method == http.MethodPost || r.Method == http.MethodPatch:
		b = appendField(b, "Content-Length", strconv.Itoa(len(f.body)))
	}
	return append(append(b, "\r\n"...), f.body...)
}

func appendField(b []byte, name, value string) []byte {
	return append(append(append(append(b, name...), ": "...), value...), "\r\n"...)
}

func appendChunk(b, data []byte) []byte {
	b = append(strconv.AppendInt(b, int64(len(data)), 16), "\r\n"...)
	return append(append(b, data...), "\r\n"...)
}

// sendRest sends the part of the body that is not held, as it arrives. When the client or the
// member fails, the connection to the member is closed, which ends the response.
func (f *forwarded) sendRest(c *conn) {
	buffer := make([]byte, copyBytes)
	var out []byte
	for {
		n, err := f.rest.Read(buffer)
		if n > 0 {
			out = buffer[:n]
			if f.chunked {
				out = appendChunk(nil, out)
			}
			if c.send(out) != nil {
				c.Close()
				return
			}
		}
		switch {
		case err == nil:
			continue
		case !errors.Is(err, io.EOF):
			c.Close()
		case f.chunked && c.send([]byte("0\r\n\r\n")) != nil:
			c.Close()
		}
		return
	}
}

// parker is an http.ResponseWriter whose response may come after its handler has returned (package
// http1).
type parker interface {
	Parks() bool
	Park(until time.Time, resume func(clientGone bool))
	Wake()
}

// longest is the maximum time that a poll is parked. After that it waits for the response with its
// buffers.
const longest = 24 * time.Hour

// poll waits for the response to a long poll. If the response is not received at once, the request
// keeps only a goroutine for the client and one for the member, without buffers.
func (f *forwarded) poll(c *conn, w parker) (again bool) {
	if err := c.SetReadDeadline(time.Now().Add(respondAtOnce)); err != nil {
		c.Close()
		return f.broken(c, err, false)
	}
	r := readers.Get().(*bufio.Reader)
	defer freeReader(r)
	r.Reset(c.Conn)
	_, err := r.Peek(1)
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() && r.Buffered() == 0 {
		f.park(c, w)
		return false
	}
	_ = c.SetReadDeadline(time.Time{}) // a broken connection fails in the read as well
	stop := context.AfterFunc(f.r.Context(), func() { c.Close() })
	defer stop()
	return f.respondFrom(c, r)
}

// park resumes when the member has sent something, or the client has disconnected. The handler has
// returned by then, so there is no further attempt: if the member fails, the response is 502.
func (f *forwarded) park(c *conn, w parker) {
	if c.SetReadDeadline(time.Time{}) != nil {
		f.finish(c)
		return
	}
	go func() {
		c.awaitBytes()
		w.Wake()
	}()
	w.Park(time.Now().Add(longest), func(clientGone bool) {
		if clientGone {
			c.Close()
			return
		}
		f.finish(c)
	})
}

// finish forwards the response to a poll that was parked, or sends the request to the other
// members.
func (f *forwarded) finish(c *conn) {
	stop := context.AfterFunc(f.r.Context(), func() { c.Close() })
	again := f.respond(c)
	stop()
	if again {
		f.forward()
	}
}

// upgrade forwards the request, and from then on the bytes of the connection.
func (f *forwarded) upgrade(c *conn) {
	defer c.Close()
	hijacker, ok := f.w.(http.Hijacker)
	if !ok {
		refuse(f.w, http.StatusNotImplemented, errors.New("this connection cannot be upgraded"))
		return
	}
	if err := c.send(f.head(true)); err != nil {
		f.broken(c, err, true)
		return
	}
	client, ahead, err := hijacker.Hijack()
	if err != nil {
		refuse(f.w, http.StatusInternalServerError, err)
		return
	}
	defer client.Close()
	if n := ahead.Reader.Buffered(); n > 0 {
		early, _ := ahead.Reader.Peek(n) // they are buffered
		if c.send(bytes.Clone(early)) != nil {
			return
		}
	}
	_ = c.SetDeadline(time.Time{}) // a broken connection fails in the copying as well
	relay.Both(client, c.Conn)
}
