package http1

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

const (
	// bodyBufferedBytes is the number of body bytes that are buffered, so that a short response is
	// sent with its length, in one write.
	bodyBufferedBytes = 2 << 10
	// outBufferedBytes is the maximum length of a piece of a body that is copied, to be sent in one
	// write with the bytes around it.
	outBufferedBytes = 16 << 10
)

// outputs has buffers for responses. Larger ones are not reused.
var outputs = sync.Pool{New: func() any { return new([]byte) }}

func freeOutput(b **[]byte) {
	if *b != nil && cap(**b) <= 2*outBufferedBytes {
		outputs.Put(*b)
	}
	*b = nil
}

// appendTo appends to a buffer, which it takes from the pool when there is none.
func appendTo[T string | []byte](b **[]byte, p T) {
	if *b == nil {
		*b = outputs.Get().(*[]byte)
		**b = (**b)[:0]
	}
	**b = append(**b, p...)
}

// framing is how a response's body ends.
type framing uint8

const (
	framingNone    framing = iota // the head is not written yet
	framingLength                 // after Content-Length bytes
	framingChunked                // with an empty chunk
	framingClose                  // when the connection is closed
	framingNoBody
)

// Header implements http.ResponseWriter. The connection's next response reuses the map: do not use
// it after the response has ended.
func (x *exchange) Header() http.Header {
	x.writing.Lock()
	defer x.writing.Unlock()
	if x.closed {
		return make(http.Header)
	}
	return x.conn.header
}

// WriteHeader implements http.ResponseWriter. A second call does nothing.
func (x *exchange) WriteHeader(status int) {
	x.writing.Lock()
	defer x.writing.Unlock()
	if !x.closed {
		x.writeHeader(status)
	}
}

func (x *exchange) writeHeader(status int) {
	if x.status != 0 {
		return
	}
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("http1: invalid WriteHeader status %d", status))
	}
	if status < 200 && status != http.StatusSwitchingProtocols {
		return // informational responses are not supported
	}
	x.status = status
	if declared, ok := x.conn.header["Content-Length"]; ok {
		n, err := parseLength(strings.Join(declared, ","))
		if err != nil {
			// wrong length from the handler: count the bytes instead
			delete(x.conn.header, "Content-Length")
			return
		}
		x.length = n
	}
}

// errEnded is the error of writes after the handler has returned or hijacked the connection.
var errEnded = errors.New("http1: write to a response that has ended")

// bodyAllowed reports whether responses of a status may have a body.
func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// Write implements http.ResponseWriter. It blocks while the client reads nothing.
func (x *exchange) Write(p []byte) (int, error) {
	x.writing.Lock()
	defer x.writing.Unlock()
	if x.closed {
		return 0, errEnded
	}
	x.writeHeader(http.StatusOK)
	switch {
	case !bodyAllowed(x.status):
		return 0, http.ErrBodyNotAllowed
	case x.length != unknown && x.written+int64(len(p)) > x.length:
		return 0, http.ErrContentLength
	case x.err != nil:
		return 0, x.err
	}
	x.written += int64(len(p))
	had := 0
	if x.pending != nil {
		had = len(*x.pending)
	}
	if had+len(p) <= bodyBufferedBytes {
		appendTo(&x.pending, p)
		return len(p), nil
	}
	x.framePending()
	x.frame(p)
	if x.err != nil {
		return 0, x.err
	}
	return len(p), nil
}

// WriteString spares io.WriteString a copy of most strings.
func (x *exchange) WriteString(s string) (int, error) { return x.Write([]byte(s)) }

// Flush implements http.Flusher.
func (x *exchange) Flush() { _ = x.FlushError() }

// FlushError is Flush for http.ResponseController.
func (x *exchange) FlushError() error {
	x.writing.Lock()
	defer x.writing.Unlock()
	if x.closed {
		return errEnded
	}
	return x.flush()
}

func (x *exchange) flush() error {
	x.writeHeader(http.StatusOK)
	x.framePending()
	if x.framing == framingNone {
		x.begin(nil, false)
	}
	x.send(nil)
	return x.err
}

func (x *exchange) framePending() {
	if x.pending == nil {
		return
	}
	x.frame(*x.pending)
	freeOutput(&x.pending)
}

// frame appends a piece of the body to the output, and sends the output when it is long.
func (x *exchange) frame(p []byte) {
	if x.framing == framingNone {
		x.begin(p, false)
	}
	if len(p) == 0 || x.framing == framingNoBody || x.err != nil {
		return
	}
	if x.framing == framingChunked {
		var size [16]byte
		appendTo(&x.out, append(strconv.AppendUint(size[:0], uint64(len(p)), 16), "\r\n"...))
	}
	if len(p) > outBufferedBytes {
		x.send(p)
	} else {
		appendTo(&x.out, p)
	}
	if x.framing == framingChunked {
		appendTo(&x.out, "\r\n")
	}
	if x.out != nil && len(*x.out) > outBufferedBytes {
		x.send(nil)
	}
}

// send writes the output and then p to the connection.
func (x *exchange) send(p []byte) {
	limit := x.limit(x.conn.srv.opts.WriteTimeout)
	if x.out != nil {
		if x.err == nil {
			x.err = x.conn.socket.write(*x.out, limit, x.conn.srv.opts.LeastRate)
		}
		freeOutput(&x.out)
	}
	if len(p) > 0 && x.err == nil {
		x.err = x.conn.socket.write(p, limit, x.conn.srv.opts.LeastRate)
	}
}

// finish sends the rest of the response after the handler has returned. Later writes fail.
func (x *exchange) finish() error {
	x.writing.Lock()
	defer x.writing.Unlock()
	x.closed = true
	x.writeHeader(http.StatusOK)
	if x.framing == framingNone {
		var body []byte
		if x.pending != nil {
			body = *x.pending
		}
		x.begin(body, true)
	}
	x.framePending()
	if x.framing == framingChunked {
		appendTo(&x.out, "0\r\n\r\n")
	}
	x.send(nil)
	if x.err == nil && x.framing == framingLength && x.written != x.length {
		return http.ErrContentLength // the client would read the next response as the rest of this one
	}
	return x.err
}

// protocols has the versions, by their minor number.
var protocols = [...]string{"HTTP/1.0 ", "HTTP/1.1 "}

// begin appends the head to the output, in net/http's order. body is the buffered start of the
// body; whole reports that it is complete.
func (x *exchange) begin(body []byte, whole bool) {
	h := x.conn.header
	x.leaveBody()
	x.frameBy(h, whole)
	if x.framing == framingClose || httpguts.HeaderValuesContainsToken(h["Connection"], "close") || x.conn.srv.conns.Stopping() {
		x.keep = false
	}
	appendTo(&x.out, protocols[x.minor])
	out := strconv.AppendInt(*x.out, int64(x.status), 10)
	out = append(append(append(out, ' '), statusText(x.status)...), "\r\n"...)
	out = appendFields(out, h)
	if _, set := h["Date"]; !set {
		out = append(append(append(out, "Date: "...), date()...), "\r\n"...)
	}
	if x.length != unknown && bodyAllowed(x.status) {
		out = append(strconv.AppendInt(append(out, "Content-Length: "...), x.length, 10), "\r\n"...)
	}
	if _, set := h["Content-Type"]; !set && len(body) > 0 && h["Content-Encoding"] == nil {
		out = append(append(append(out, "Content-Type: "...), http.DetectContentType(body)...), "\r\n"...)
	}
	switch {
	case h["Connection"] != nil:
	case !x.keep && x.minor > 0:
		out = append(out, "Connection: close\r\n"...)
	case x.keep && x.minor == 0:
		out = append(out, "Connection: keep-alive\r\n"...)
	}
	if x.framing == framingChunked {
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	}
	*x.out = append(out, "\r\n"...)
}

// leaveBody drains the request's body before the response begins: some clients read nothing before
// they have sent everything. If too much is left, the connection is closed after the response.
func (x *exchange) leaveBody() {
	if x.body.tooLateToContinue() || !x.duplex && !x.body.readOver() {
		x.keep = false
	}
}

// frameBy selects how the body ends.
func (x *exchange) frameBy(h http.Header, whole bool) {
	if whole && x.length == unknown && bodyAllowed(x.status) && (!x.head || x.written > 0) {
		x.length = x.written
	}
	switch {
	case x.head || !bodyAllowed(x.status):
		x.framing = framingNoBody
	case x.length != unknown:
		x.framing = framingLength
	case x.minor > 0:
		x.framing = framingChunked
	default:
		x.framing = framingClose
	}
}

func statusText(status int) string {
	if text := http.StatusText(status); text != "" {
		return text
	}
	return "status code " + strconv.Itoa(status)
}

// appendFields appends the headers that the handler has set, sorted by name, as net/http does, so
// that responses can be compared.
func appendFields(out []byte, h http.Header) []byte {
	var usual [16]string
	names := usual[:0]
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		switch {
		case name == "Content-Length", name == "Transfer-Encoding", strings.HasPrefix(name, http.TrailerPrefix), !httpguts.ValidHeaderFieldName(name):
			continue // the server sets the framing
		}
		for _, value := range h[name] {
			out = append(append(out, name...), ": "...)
			from := len(out)
			out = append(out, strings.Trim(value, " \t")...)
			for i, c := range out[from:] {
				if c == '\r' || c == '\n' {
					out[from+i] = ' ' // otherwise a value could begin a new header
				}
			}
			out = append(out, "\r\n"...)
		}
	}
	return out
}

// dated is the formatted time of a second.
type dated struct {
	second int64
	text   string
}

var lastDate atomic.Pointer[dated]

// date returns the current time in the format of the header Date. It is formatted once a second.
func date() string {
	now := time.Now()
	d := lastDate.Load()
	if d == nil || d.second != now.Unix() {
		d = &dated{now.Unix(), now.UTC().Format(http.TimeFormat)}
		lastDate.Store(d)
	}
	return d.text
}
