package http1

import (
	"bufio"
	"net"
	"net/http"
	"sync"
	"time"
)

// exchange is a request and its response: the http.ResponseWriter of the handler, and the context
// of its request. Each request has a new one, so that a goroutine left behind by a handler does not
// affect another request.
type exchange struct {
	conn   *conn
	req    *http.Request
	values [fieldsUsual]string // storage for the request's headers
	body   body
	minor  int   // of the protocol's version
	head   bool  // a HEAD request: the response has no body
	held   int64 // taken from the connection's account for the request's head
	keep   bool  // keep the connection open after the response

	// held while the response is written, so that late writers find it closed; guards closed
	writing sync.Mutex
	closed  bool // for writing
	status  int
	framing framing
	length  int64   // declared by the handler, or unknown
	written int64   // by the handler
	pending *[]byte // body bytes that are written but not framed
	out     *[]byte // framed, and not sent
	duplex  bool    // the body is read while the response is written
	err     error   // of a write

	resume func(clientGone bool) // see Park

	mu         sync.Mutex    // guards the fields below
	done       chan struct{} // made by the first call of Done
	watcher    chan struct{} // closed when watch has returned
	quiet      bool          // the body was read completely
	clientGone bool
	stopping   bool      // watch must stop
	ended      bool      // the response has ended
	hijacked   bool      // by Hijack
	deadlines  bool      // the handler has set deadlines
	until      time.Time // when await times out
	waiting    bool      // in await
	woken      bool      // see Wake
}

// SetReadDeadline is for http.ResponseController. It replaces Options.ReadTimeout.
func (x *exchange) SetReadDeadline(t time.Time) error {
	return x.setDeadline(net.Conn.SetReadDeadline, t)
}

// SetWriteDeadline is for http.ResponseController. It replaces Options.WriteTimeout.
func (x *exchange) SetWriteDeadline(t time.Time) error {
	return x.setDeadline(net.Conn.SetWriteDeadline, t)
}

func (x *exchange) setDeadline(set func(net.Conn, time.Time) error, t time.Time) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return errEnded // it would affect the next response
	}
	x.deadlines = true
	return set(x.conn.socket.nc, t)
}

// limit returns how long a call on the connection may wait: without limit if the handler has set
// deadlines.
func (x *exchange) limit(standard time.Duration) time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.deadlines {
		return 0
	}
	return standard
}

// readLimit is limit for the body. A duplex body has no limit.
func (x *exchange) readLimit() time.Duration {
	if x.duplex {
		return 0
	}
	return x.limit(x.conn.srv.opts.ReadTimeout)
}

// EnableFullDuplex is for http.ResponseController: the body may be read while the response is
// written, and may take any time. The unread body is not drained when the response begins.
func (x *exchange) EnableFullDuplex() error {
	x.duplex = true
	return nil
}

// Hijack implements http.Hijacker. The reader has the bytes that were read ahead.
func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	x.writing.Lock()
	defer x.writing.Unlock()
	if x.closed || x.resume != nil {
		return nil, nil, http.ErrHijacked
	}
	if x.status != 0 {
		if err := x.flush(); err != nil {
			return nil, nil, err
		}
	}
	x.closed = true
	x.stopWatching()
	x.mu.Lock()
	x.hijacked = true
	x.mu.Unlock()
	s := &x.conn.socket
	nc := x.conn.hijack()
	ahead := s.ahead()
	r := bufio.NewReaderSize(&headedConn{Conn: nc, head: append([]byte(nil), ahead...)}, max(bufferBytes, len(ahead)))
	s.skip(len(ahead))
	if _, err := r.Peek(len(ahead)); err != nil {
		return nil, nil, err
	}
	return nc, bufio.NewReadWriter(r, bufio.NewWriter(nc)), nil
}

// headedConn returns some bytes before those of the connection.
type headedConn struct {
	net.Conn
	head []byte
}

// Read implements net.Conn.
func (c *headedConn) Read(p []byte) (int, error) {
	if len(c.head) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.head)
	c.head = c.head[n:]
	return n, nil
}
