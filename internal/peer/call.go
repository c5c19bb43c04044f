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

// CallHandler handles a call: from is the calling member. If the error is or wraps a *RemoteError,
// the caller receives it.
type CallHandler func(ctx context.Context, from uint64, body []byte) ([]byte, error)

// RemoteError is an error of another member's CallHandler.
type RemoteError struct {
	Code string `json:"code"`    // for programs: lower case, digits, dashes; "" for other errors of the handler
	Text string `json:"message"` // for humans
}

func (e *RemoteError) Error() string { return e.Text }

// Errors of Call other than *RemoteError and those of the context.
var (
	ErrUnknownPeer = errors.New("no such peer")
	// ErrNotSent is wrapped when the call was certainly not executed: the caller may retry.
	ErrNotSent = errors.New("peer not reached")
	// ErrTooLarge is wrapped when a body or a response is larger than Limits.CallBytesMax.
	ErrTooLarge = errors.New("call is too large")
)

const (
	statusCallFailed = http.StatusUnprocessableEntity
	callBodyTimeout  = 30 * time.Second // for the body to arrive
	idleCallTimeout  = 60 * time.Second // how long an idle connection for calls stays open
	idleCallsMax     = 16               // idle connections for calls, per peer
)

// callers has the HTTP clients of calls: one for TCP, one for Unix sockets.
type callers struct{ tcp, unix *http.Transport }

func newCallers(t *Transport) callers {
	dialer := func(network string) func(context.Context, string, string) (net.Conn, error) {
		return func(ctx context.Context, _, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, t.cfg.Limits.ConnectTimeout)
			defer cancel()
			conn, err := dialerFrom(network, t.cfg.LocalIP).DialContext(ctx, network, address)
			if err != nil {
				return nil, &dialError{err}
			}
			return conn, nil
		}
	}
	transport := func(network string) *http.Transport {
		h := &http.Transport{
			DialContext: dialer(network), DisableCompression: true,
			MaxIdleConnsPerHost: idleCallsMax, IdleConnTimeout: idleCallTimeout, MaxResponseHeaderBytes: responseHeadMax,
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

// of returns the client for a URL, and the URL in HTTP's form.
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

// Register sets the handler of a call path, like "lease/keepalive". Register all paths before peers
// are served.
func (t *Transport) Register(path string, h CallHandler) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls[path] = h
}

// Call calls a peer and returns its response. It tries the peer's URLs until one is reached, and
// does not repeat a call that may have been executed: a later failure of the connection is an error
// without ErrNotSent.
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
		var response []byte
		response, err = t.callURL(ctx, p, urls[(next+i)%len(urls)], path, body)
		if err == nil {
			return response, nil
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
	defer func() { _ = resp.Body.Close() }() // read completely, or not needed
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
		return nil, fmt.Errorf("%w: a response of more than %d bytes", ErrTooLarge, limit)
	}
	return b, err
}

// enter counts a call, for Close to wait for.
func (t *Transport) enter(path string) (h CallHandler, leave func(), why *refusal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h = t.calls[path]
	switch {
	case t.closed:
		return nil, nil, busy("this member is stopping")
	case h == nil:
		return nil, nil, &refusal{http.StatusNotFound, refusedRequest, fmt.Sprintf("unknown call %q", shorten(path)), ""}
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

// serveCall serves a call of a peer.
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
	// Some servers do not support deadlines; those have their own.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(callBodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(t.cfg.Limits.CallBytesMax)))
	if err != nil {
		t.refuse(w, r, &refusal{http.StatusRequestEntityTooLarge, refusedRequest, "read the body of a call: " + err.Error(), ""})
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	response, err := h(ctx, from, body)
	if err == nil && len(response) > t.cfg.Limits.CallBytesMax {
		err = fmt.Errorf("%w: a response of %d bytes, more than %d", ErrTooLarge, len(response), t.cfg.Limits.CallBytesMax)
	}
	if err == nil {
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(response) // an error means that the peer has disconnected
		return
	}
	remote := &RemoteError{}
	if !errors.As(err, &remote) {
		remote = &RemoteError{Text: err.Error()}
	}
	if len(remote.Text) > refusalBytesMax/8 { // JSON may need six bytes per byte
		remote = &RemoteError{Code: remote.Code, Text: remote.Text[:refusalBytesMax/8]}
	}
	text, err := json.Marshal(remote)
	if err != nil {
		text = []byte("{}") // cannot happen with two strings
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(statusCallFailed)
	_, _ = w.Write(text)
}
