package http1

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"cairn/internal/budget"
)

// The states of a connection.
//
//	idle ── first byte ──► active ── response ended ──► idle
//	  └── Shutdown, end ──► closed ◄── end ── active
const (
	stateIdle int32 = iota
	stateActive
	stateClosed
)

// conn is one connection. Its goroutine owns every field that is not marked as guarded.
type conn struct {
	srv    *Server
	socket socket
	tls    *tls.ConnectionState
	remote string
	// account has what the connection and its handlers have taken of Options.Budget.
	account *budget.Account

	state atomic.Int32
	turns atomic.Uint32 // number of times that a request began or ended
	// Server.mu guards these; see Server.closeUnused.
	sweptTurns uint32
	sweeps     int

	ending sync.Once
	closed func()

	header http.Header // of the response, emptied before each
	noMore bool        // the connection is closed after this response
}

func newConn(s *Server, nc net.Conn, closed func()) *conn {
	c := &conn{srv: s, remote: nc.RemoteAddr().String(), closed: closed, header: make(http.Header, 8), account: s.opts.Budget.Open()}
	c.socket.init(nc, c.account)
	if t, ok := nc.(interface{ ConnectionState() tls.ConnectionState }); ok {
		state := t.ConnectionState()
		c.tls = &state
	}
	return c
}

// serve serves requests until the connection ends, is hijacked, or waits in Park.
func (c *conn) serve() {
	for c.awaitRequest() {
		req, x, err := c.readRequest()
		if err != nil {
			c.refuse(err)
			c.socket.release() // also if another goroutine has closed the connection meanwhile
			return
		}
		switch c.handle(x, req) {
		case outcomeDone:
		case outcomeParked:
			go c.parked(x)
			return
		case outcomeHijacked:
			return
		case outcomeBroken:
			c.close()
			return
		}
	}
}

// awaitRequest waits for the first byte of a request, and reports whether there is one.
func (c *conn) awaitRequest() bool {
	if c.noMore {
		c.closeGently()
		return false
	}
	if len(c.socket.ahead()) == 0 {
		if err := c.socket.fill(0); err != nil {
			c.close()
			return false
		}
	}
	if !c.state.CompareAndSwap(stateIdle, stateActive) {
		return false // closed by Shutdown, or as unused
	}
	c.turns.Add(1)
	return true
}

// outcome is the state of a request after its handler has returned.
type outcome int

const (
	outcomeDone     outcome = iota // the response has ended; another request may come
	outcomeParked                  // the response will be written later
	outcomeHijacked                // the handler owns the connection
	outcomeBroken                  // the connection can no longer be used
)

// handle runs the handler.
func (c *conn) handle(x *exchange, req *http.Request) outcome {
	if !c.run(x, func() { c.srv.opts.Handler.ServeHTTP(x, req) }) {
		return outcomeBroken
	}
	return c.finishHandler(x)
}

// finishHandler ends the response after the handler, or a resumed request, has returned.
func (c *conn) finishHandler(x *exchange) outcome {
	switch {
	case x.hijacked:
		x.end()
		return outcomeHijacked
	case x.resume != nil:
		return outcomeParked
	}
	err := x.finish()
	if err == nil {
		x.keep = x.body.drain(x.keep)
	}
	x.end()
	if err != nil {
		return outcomeBroken
	}
	clear(c.header)
	c.turns.Add(1)
	if !c.state.CompareAndSwap(stateActive, stateIdle) {
		return outcomeBroken // closed: requests that were read ahead are not served
	}
	// read it after the state has changed; closeIdle does both in the reverse order
	c.noMore = !x.keep || c.srv.conns.Stopping()
	return outcomeDone
}

// run calls the handler, and reports whether it returned. A handler that panics, or exits its
// goroutine, loses only its connection.
func (c *conn) run(x *exchange, handler func()) (ok bool) {
	defer func() {
		if ok {
			return
		}
		reason := recover() // nil when the goroutine is ending
		if err, is := reason.(error); !is || !errors.Is(err, http.ErrAbortHandler) {
			c.srv.opts.Logger.Error("http handler panic", "path", x.req.URL.Path, "panic", reason, "stack", string(debug.Stack()))
		}
		x.end()
		c.close()
	}()
	handler()
	return true
}

// refuse responds to a request that is not passed to the handler.
func (c *conn) refuse(err error) {
	var r *refusal
	if !errors.As(err, &r) {
		c.close() // the client has disconnected, or took too long
		return
	}
	c.srv.opts.Logger.Debug("refused request", "remote", c.remote, "cause", err)
	text := fmt.Sprintf("%d %s", r.status, http.StatusText(r.status))
	if r.text != "" {
		text += ": " + r.text
	}
	response := fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n%s",
		r.status, http.StatusText(r.status), text)
	if c.socket.write([]byte(response), c.srv.opts.WriteTimeout, c.srv.opts.LeastRate) != nil {
		c.close()
		return
	}
	c.closeGently()
}

const (
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 256 << 10
)

// closeGently closes a connection whose client may still be sending. If it were closed at once, the
// client's kernel would discard the unread part of the response (RFC 9112, 9.6).
func (c *conn) closeGently() {
	if half, ok := c.socket.nc.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		if c.socket.nc.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
			// Whatever the result, the connection is closed.
			_, _ = io.CopyN(io.Discard, c.socket.nc, lingerBytes)
		}
	}
	c.close()
}

// close ends the connection.
func (c *conn) close() {
	c.ending.Do(func() {
		c.state.Store(stateClosed)
		_ = c.socket.nc.Close() // the error has no consequence
		c.socket.release()
		c.account.Close()
		c.closed()
		c.srv.remove(c)
	})
}

// closeIdle closes the connection if no request is in progress. Its goroutine notices by the state,
// or by a failed read.
func (c *conn) closeIdle() {
	if c.state.CompareAndSwap(stateIdle, stateClosed) {
		c.close()
	}
}

// abort closes the connection in any state. Its goroutine notices by an error.
func (c *conn) abort(cause error) {
	c.srv.opts.Logger.Debug("connection ended", "remote", c.remote, "cause", cause)
	c.close()
}

// hijack gives the connection to the handler.
func (c *conn) hijack() net.Conn {
	c.srv.remove(c)
	return &hijackedConn{Conn: c.socket.nc, c: c}
}

// hijackedConn is a connection that a handler has hijacked. It still counts as open until it is
// closed.
type hijackedConn struct {
	net.Conn
	c *conn
}

// Close implements net.Conn.
func (t *hijackedConn) Close() error {
	err := t.Conn.Close()
	t.c.ending.Do(func() {
		t.c.socket.release()
		t.c.account.Close()
		t.c.closed()
	})
	return err
}
