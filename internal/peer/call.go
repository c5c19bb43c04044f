package peer

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// CallHandler answers a call: from is the member that asks. An error that is, or wraps, a
// *RemoteError arrives as such.
type CallHandler func(ctx context.Context, from uint64, body []byte) ([]byte, error)

// RemoteError is what a CallHandler of another member returned.
type RemoteError struct {
	Code string `json:"code"`    // for programs: lower case, digits, dashes; "" when the handler gave another kind of error
	Text string `json:"message"` // for people
}

func (e *RemoteError) Error() string { return e.Text }

// The errors of Call beside *RemoteError and those of the context.
var (
	ErrUnknownPeer = errors.New("no such peer")
	// ErrNotSent is wrapped when the call has certainly not been executed: it may be tried again.
	ErrNotSent = errors.New("peer not reached")
	// ErrTooLarge is wrapped when a body or an answer is larger than Limits.CallBytesMax.
	ErrTooLarge = errors.New("call is too large")
)

const (
	statusCallFailed = http.StatusUnprocessableEntity
	callBodyTimeout  = 30 * time.Second // for a body to come in
	idleCallTimeout  = 60 * time.Second // that a connection for calls is kept
	idleCallsMax     = 16               // of them, for each peer
)

// callers are the HTTP clients of calls: one for TCP, one for Unix sockets.
type callers struct{ tcp, unix *http.Transport }

func newCallers(t *Transport) callers {
	dialer := func(network string) func(context.Context, string, string) (net.Conn, error) {
		return func(ctx context.Context, _, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, t.cfg.Limits.ConnectTimeout)
			defer cancel()
			var d net.Dialer
			conn, err := d.DialContext(ctx, network, address)
			if err != nil {
				return nil, &dialError{err}
			}
			return conn, nil
		}
	}
	transport := func(network string) *http.Transport {
		h := &http.Transport{
			DialContext: dialer(network), DisableCompression: true,
			MaxIdleConnsPerHost: idleCallsMax, IdleConnTimeout: idleCallTimeout, MaxResponseHeaderBytes: answerBytesMax,
		}
		dial := h.DialContext
		h.DialTLSContext = func(ctx context.Context, _, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			ctx, cancel := context.WithTimeout(ctx, t.cfg.Limits.ConnectTimeout)
			defer cancel()
			host := address
			if h, _, err := net.SplitHostPort(address); err == nil {
				host = h
			}
			c := tls.Client(conn, clientTLS(t.cfg.TLS, host))
			if err := c.HandshakeContext(ctx); err != nil {
				return nil, &dialError{errors.Join(fmt.Errorf("TLS handshake: %w", err), conn.Close())}
			}
			return c, nil
		}
		return h
	}
	return callers{transport("tcp"), transport("unix")}
}

func (c callers) close() {
	c.tcp.CloseIdleConnections()
	c.unix.CloseIdleConnections()
}

// of returns the client for a URL, and the URL as HTTP has it.
func (c callers) of(u *url.URL) (*http.Transport, url.URL) {
	over := *u
	switch u.Scheme {
	case "unix":
		over.Scheme = "http"
		return c.unix, over
	case "unixs":
		over.Scheme = "https"
		return c.unix, over
	}
	return c.tcp, over
}

// Register has a path of calls answered. Paths are like "lease/keepalive"; register before peers
// are served.
func (t *Transport) Register(path string, h CallHandler) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls[path] = h
}

// Call has a peer answer a call. It tries the peer's URLs until one is reached, and does not repeat
// a call that may have been executed: what the connection does to it afterwards is an error without
// ErrNotSent.
func (t *Transport) Call(ctx context.Context, id uint64, path string, body []byte) ([]byte, error) {
	p := (*t.peers.Load())[id]
	if p == nil {
		return nil, fmt.Errorf("call %s of member %016x: %w", path, id, ErrUnknownPeer)
	}
	if len(body) > t.cfg.Limits.CallBytesMax {
		return nil, fmt.Errorf("call %s of member %016x: %w: %d bytes, more than %d", path, id, ErrTooLarge, len(body), t.cfg.Limits.CallBytesMax)
	}
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil, fmt.Errorf("call %s of member %016x: %w: this member is stopping", path, id, ErrNotSent)
	}
	t.work.Add(1)
	t.mu.Unlock()
	defer t.work.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(p.ctx, cancel)
	defer stop()
	p.mu.Lock()
	urls, next := p.urls, p.next
	p.mu.Unlock()
	err := errNoURL
	for i := range urls {
		var answer []byte
		answer, err = t.callURL(ctx, p, urls[(next+i)%len(urls)], path, body)
		if err == nil {
			return answer, nil
		}
		if unreached := (*dialError)(nil); ctx.Err() != nil || !errors.As(err, &unreached) {
			break
		}
	}
	if remote := (*RemoteError)(nil); errors.As(err, &remote) {
		return nil, err
	}
	var unreached *dialError
	var why *refusal
	if errors.Is(err, errNoURL) || errors.As(err, &unreached) || errors.As(err, &why) {
		return nil, fmt.Errorf("call %s of member %016x: %w: %w", path, id, ErrNotSent, err)
	}
	return nil, fmt.Errorf("call %s of member %016x: %w", path, id, err)
}

func (t *Transport) callURL(ctx context.Context, p *peer, u *url.URL, path string, body []byte) ([]byte, error) {
	transport, over := t.callers.of(u)
	over.Path = pathCall + path
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, over.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	t.setHead(req.Header, p.id)
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it is read, or not wanted
	switch resp.StatusCode {
	case http.StatusOK:
		return readAtMost(resp.Body, t.cfg.Limits.CallBytesMax)
	case statusCallFailed:
		text, err := readAtMost(resp.Body, refusalBytesMax)
		if err != nil {
			return nil, err
		}
		remote := &RemoteError{}
		if err := json.Unmarshal(text, remote); err != nil {
			return nil, fmt.Errorf("read an error: %w", err)
		}
		return nil, remote
	}
	err = readRefusal(resp)
	if why := (*refusal)(nil); errors.As(err, &why) {
		t.refusedBy(why)
	}
	return nil, err
}

func readAtMost(r io.Reader, limit int) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err == nil && len(b) > limit {
		return nil, fmt.Errorf("%w: an answer of more than %d bytes", ErrTooLarge, limit)
	}
	return b, err
}

// enter counts a call among what Close waits for.
func (t *Transport) enter(path string) (h CallHandler, leave func(), why *refusal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h = t.calls[path]
	switch {
	case t.closed:
		return nil, nil, busy("this member is stopping")
	case h == nil:
		return nil, nil, &refusal{http.StatusNotFound, refusedRequest, fmt.Sprintf("there is no call %q", shorten(path)), ""}
	}
	select {
	case t.callSlots <- struct{}{}:
	default:
		return nil, nil, busy(fmt.Sprintf("this member serves %d calls already", t.cfg.Limits.CallsMax))
	}
	t.work.Add(1)
	return h, func() {
		<-t.callSlots
		t.work.Done()
	}, nil
}

// serveCall answers a call of a peer.
func (t *Transport) serveCall(w http.ResponseWriter, r *http.Request, path string) {
	from, why := t.checkHead(w, r)
	if why == nil && r.Method != http.MethodPost {
		why = badRequest("want a POST request")
	}
	if why != nil {
		t.refuse(w, r, why)
		return
	}
	h, leave, why := t.enter(path)
	if why != nil {
		t.refuse(w, r, why)
		return
	}
	defer leave()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	stop := context.AfterFunc(t.ctx, cancel)
	defer stop()
	// Not every server can set it; those that cannot have their own.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(callBodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(t.cfg.Limits.CallBytesMax)))
	if err != nil {
		t.refuse(w, r, &refusal{http.StatusRequestEntityTooLarge, refusedRequest, "read the body of a call: " + err.Error(), ""})
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	answer, err := h(ctx, from, body)
	if err == nil && len(answer) > t.cfg.Limits.CallBytesMax {
		err = fmt.Errorf("%w: an answer of %d bytes, more than %d", ErrTooLarge, len(answer), t.cfg.Limits.CallBytesMax)
	}
	if err == nil {
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(answer) // a peer that has gone does not want it any more
		return
	}
	remote := &RemoteError{}
	if !errors.As(err, &remote) {
		remote = &RemoteError{Text: err.Error()}
	}
	if len(remote.Text) > refusalBytesMax/8 { // JSON may need six bytes for one
		remote = &RemoteError{Code: remote.Code, Text: remote.Text[:refusalBytesMax/8]}
	}
	text, err := json.Marshal(remote)
	if err != nil {
		text = []byte("{}") // of two strings: cannot happen
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(statusCallFailed)
	_, _ = w.Write(text)
}
