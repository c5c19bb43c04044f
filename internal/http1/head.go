package http1

import (
	"bytes"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// refusal is the reason why a request is not passed to the handler.
type refusal struct {
	status int
	text   string // sent to the client after the status
}

// Error implements error.
func (r *refusal) Error() string { return strconv.Itoa(r.status) + " " + r.text }

func badRequest(text string) error { return &refusal{http.StatusBadRequest, text} }

// readRequest reads a request's head. An error that is not a *refusal is the connection's.
func (c *conn) readRequest() (*http.Request, *exchange, error) {
	head, err := c.readHead()
	if err != nil {
		return nil, nil, err
	}
	held, ok := c.holdHead(len(head))
	if !ok {
		return nil, nil, &refusal{http.StatusTooManyRequests, "no memory for the request's head"}
	}
	p := &parser{c: c, x: &exchange{conn: c, length: unknown, framing: framingNone, held: held}}
	if err := p.parse(head); err != nil {
		c.account.Give(held)
		return nil, nil, err
	}
	x := p.x
	// WithContext copies the request; http.Request has no other way to set its context.
	x.req = p.req.WithContext(x)
	x.body.x, x.quiet = x, x.body.done
	return x.req, x, nil
}

// headFactor is how many bytes a long head takes for each of its bytes while its request is served,
// also while that is parked: its text, which the request refers to, and the fields.
const headFactor = 2

// holdHead takes memory for a head of n bytes until its exchange ends. One that fits the buffer of
// a connection does not count. It reports false when there is no memory.
func (c *conn) holdHead(n int) (held int64, ok bool) {
	if n <= bufferBytes {
		return 0, true
	}
	held = int64(n) * headFactor
	return held, c.account.TryTake(held)
}

// readHead removes the head of a request, with its last line feed, from the buffer.
func (c *conn) readHead() (string, error) {
	s, o := &c.socket, &c.srv.opts
	var deadline time.Time // set when a read has to wait
	for looked := 0; ; {
		ahead := s.ahead()
		// Some old clients send empty lines before a request (RFC 9112, 2.2).
		if looked == 0 {
			if blank := blankLines(ahead); blank > 0 {
				s.skip(blank)
				ahead = ahead[blank:]
			}
		}
		if n := headEnd(ahead, looked); n > 0 {
			if n > o.MaxHeaderBytes {
				break
			}
			head := string(ahead[:n])
			s.skip(n)
			return head, nil
		}
		looked = max(0, len(ahead)-3)
		if !s.grow(o.MaxHeaderBytes + bufferBytes) {
			break
		}
		left := o.ReadHeaderTimeout
		if deadline.IsZero() {
			deadline = time.Now().Add(left)
		} else if left = time.Until(deadline); left <= 0 {
			return "", os.ErrDeadlineExceeded
		}
		if err := s.fill(left); err != nil {
			return "", err
		}
	}
	return "", &refusal{status: http.StatusRequestHeaderFieldsTooLarge}
}

// blankLines returns the length of the empty lines at the start of b.
func blankLines(b []byte) (n int) {
	for {
		switch rest := b[n:]; {
		case len(rest) > 0 && rest[0] == '\n':
			n++
		case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
			n += 2
		default:
			return n
		}
	}
}

// headEnd returns the length of the head at the start of b, or 0 when it is incomplete. Lines may
// end without a carriage return (RFC 9112, 2.2). It searches from the offset from: the end is not
// before it.
func headEnd(b []byte, from int) int {
	for i := from; ; {
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			return 0
		}
		i += n + 1
		switch rest := b[i:]; {
		case len(rest) > 0 && rest[0] == '\n':
			return i + 1
		case len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n':
			return i + 2
		}
	}
}

// parser parses a head to a request.
type parser struct {
	c   *conn
	x   *exchange
	req http.Request

	hosts     int
	lengths   []string
	codings   []string
	minor     int    // of the protocol's version
	unchecked string // the remaining lines
}

func (p *parser) parse(head string) error {
	line, rest := cutLine(head)
	if err := p.requestLine(line); err != nil {
		return err
	}
	p.unchecked = rest
	if err := p.fields(); err != nil {
		return err
	}
	if err := p.host(); err != nil {
		return err
	}
	p.req.RemoteAddr, p.req.TLS = p.c.remote, p.c.tls
	p.x.minor, p.x.head = p.minor, p.req.Method == http.MethodHead
	p.persistence()
	return p.framing()
}

// cutLine returns the first line without its end, and what follows.
func cutLine(s string) (line, rest string) {
	line, rest, _ = strings.Cut(s, "\n")
	return strings.TrimSuffix(line, "\r"), rest
}

// requestLine parses "METHOD TARGET HTTP/1.x".
func (p *parser) requestLine(line string) error {
	method, rest, ok := strings.Cut(line, " ")
	target, proto, ok2 := strings.Cut(rest, " ")
	if !ok || !ok2 || !httpguts.ValidHeaderFieldName(method) { // a method is a token, like a header name
		return badRequest("")
	}
	r := &p.req
	r.Method, r.RequestURI, r.ProtoMajor = method, target, 1
	switch proto {
	case "HTTP/1.1":
		p.minor, r.Proto, r.ProtoMinor = 1, proto, 1
	case "HTTP/1.0":
		r.Proto = proto
	default:
		if _, _, ok := http.ParseHTTPVersion(proto); ok {
			return &refusal{http.StatusHTTPVersionNotSupported, "unsupported protocol version"}
		}
		return badRequest("")
	}
	var err error
	if method == http.MethodConnect && !strings.HasPrefix(target, "/") {
		r.URL, err = url.ParseRequestURI("http://" + target) // the target is an authority alone
		if err == nil {
			r.URL.Scheme = ""
		}
	} else {
		r.URL, err = url.ParseRequestURI(target)
	}
	if err != nil {
		return badRequest("")
	}
	return nil
}

// fieldsUsual is the number of headers that most requests do not exceed.
const fieldsUsual = 8

// fields parses the headers.
func (p *parser) fields() error {
	p.req.Header = make(http.Header, fieldsUsual)
	values := p.x.values[:0]
	for {
		var line string
		if line, p.unchecked = cutLine(p.unchecked); line == "" {
			return nil
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !httpguts.ValidHeaderFieldName(name) { // also a line that continues the one before
			return badRequest("invalid header name")
		}
		if value = strings.Trim(value, " \t"); !httpguts.ValidHeaderFieldValue(value) {
			return badRequest("invalid header value")
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		switch name {
		case "Host":
			p.hosts++
			p.req.Host = value
			continue
		case "Content-Length":
			p.lengths = append(p.lengths, value)
		case "Transfer-Encoding":
			p.codings = append(p.codings, value)
			continue
		}
		if had := p.req.Header[name]; had != nil {
			p.req.Header[name] = append(had, value)
			continue
		}
		if len(values) < cap(values) {
			values = append(values, value)
			p.req.Header[name] = values[len(values)-1 : len(values) : len(values)]
			continue
		}
		p.req.Header[name] = []string{value}
	}
}

// host checks the Host header (RFC 9112, 3.2).
func (p *parser) host() error {
	switch {
	case p.hosts > 1:
		return badRequest("too many Host headers")
	case p.hosts == 0 && p.minor > 0 && p.req.Method != http.MethodConnect:
		return badRequest("missing required Host header")
	case !httpguts.ValidHostHeader(p.req.Host):
		return badRequest("malformed Host header")
	}
	if p.req.URL.Host != "" {
		p.req.Host = p.req.URL.Host
	}
	return nil
}

// persistence determines whether the connection stays open.
func (p *parser) persistence() {
	asked := p.req.Header["Connection"]
	p.x.keep = !httpguts.HeaderValuesContainsToken(asked, "close") &&
		(p.minor > 0 || httpguts.HeaderValuesContainsToken(asked, "keep-alive"))
	p.req.Close = !p.x.keep
}

// framing determines where the body ends (RFC 9112, 6.3).
func (p *parser) framing() error {
	body, r := &p.x.body, &p.req
	if len(p.codings) > 0 {
		switch {
		case p.minor == 0:
			return badRequest("Transfer-Encoding in HTTP/1.0")
		case len(p.lengths) > 0:
			return badRequest("both Content-Length and Transfer-Encoding")
		case len(p.codings) > 1 || !equalFold(p.codings[0], "chunked"):
			return &refusal{http.StatusNotImplemented, "unsupported transfer encoding"}
		}
		r.TransferEncoding = []string{"chunked"}
		r.ContentLength, body.chunked = unknown, true
	}
	for _, l := range p.lengths {
		n, err := parseLength(l)
		if err != nil || l != p.lengths[0] {
			return badRequest("bad Content-Length")
		}
		r.ContentLength, body.left = n, n
	}
	if expects := r.Header["Expect"]; len(expects) > 0 && p.minor > 0 {
		if !equalFold(expects[0], "100-continue") {
			return &refusal{status: http.StatusExpectationFailed}
		}
		body.expectsContinue = body.chunked || body.left > 0
	}
	if body.chunked || body.left > 0 {
		r.Body = body
	} else {
		r.Body, body.done = http.NoBody, true
	}
	return nil
}

// equalFold reports whether a header's value is a lower-case word, in letters of any case.
// strings.EqualFold considers the Kelvin sign equal to "k", where a proxy may not.
func equalFold(value, word string) bool {
	return len(value) == len(word) && strings.EqualFold(value, word)
}

// unknown is the length of a body without a declared length.
const unknown = -1

// parseLength parses a Content-Length, which has only digits.
func parseLength(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err
}
