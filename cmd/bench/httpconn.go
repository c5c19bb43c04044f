package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// idleMax is the maximum idle time of a connection that is reused: the server may have closed it
// meanwhile, which a request would notice only after it was sent.
const idleMax = time.Minute

// aLongTimeAgo is a deadline that ends pending calls on a connection at once.
var aLongTimeAgo = time.Unix(1, 0)

// httpConn is a persistent HTTP/1.1 connection that carries one request at a time. It replaces
// net/http's Transport, whose two goroutines and many allocations per request use more CPU than the
// servers being measured, on the same machine: the figures would be the client's. It sends each
// request by one write, from one buffer, and usually reads the response by one read.
//
// Concurrency: several clients may call do, and then take turns.
type httpConn struct {
	to   endpoint
	tls  *tls.Config // for https
	turn sync.Mutex  // held during a request; guards the fields below, except those that cut guards

	responses responseReader
	out       []byte // the request
	idleSince time.Time
	watched   context.Context // its end calls interrupt
	unwatch   func() bool

	cut struct {
		sync.Mutex
		conn   net.Conn        // nil while there is none
		asking context.Context // of the request in flight; only its end interrupts the request
		done   bool            // the connection was interrupted
	}
}

// httpRequest has the parts that differ between requests.
type httpRequest struct {
	method string
	path   []byte // escaped
	header []byte // whole lines, without Host and Content-Length
	body   []byte // for PUT
}

// do sends a request, waits for its response and returns the result of check, which gets its status
// and the first bytesKept of its body, valid until check returns. An error in the body goes to
// check, too; earlier errors are returned directly. The connection is opened if necessary.
func (c *httpConn) do(ctx context.Context, r httpRequest, check func(status int, body []byte, err error) error) error {
	c.turn.Lock()
	defer c.turn.Unlock()
	if c.open() && time.Since(c.idleSince) > idleMax {
		c.disconnect()
	}
	reused := c.open()
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		status, body, err := c.doOnce(ctx, r)
		if status != 0 {
			return check(status, body, err)
		}
		// A server may close an idle connection just as a request is sent (RFC 9112, section
		// 9.3.1). A request that changes nothing is then sent again over a new one.
		if !reused || c.responses.begun || r.method != http.MethodGet {
			return err
		}
		reused = false
	}
}

func (c *httpConn) doOnce(ctx context.Context, r httpRequest) (status int, body []byte, err error) {
	if !c.open() {
		if err := c.connect(ctx); err != nil {
			return 0, nil, err
		}
	}
	if err := c.begin(ctx); err != nil {
		return 0, nil, err
	}
	keep := false
	defer func() {
		interrupted := c.end()
		if interrupted || !keep {
			c.disconnect()
		}
		if interrupted && err != nil { // the error is only that of the deadline
			err = context.Cause(ctx)
		}
	}()
	out := append(c.out[:0], r.method...)
	out = append(append(append(out, ' '), r.path...), " HTTP/1.1\r\nHost: "...)
	out = append(append(append(out, c.to.address...), "\r\n"...), r.header...)
	if r.method == http.MethodPut {
		out = append(out, "Content-Length: "...)
		out = append(strconv.AppendInt(out, int64(len(r.body)), 10), "\r\n"...)
	}
	out = append(append(out, "\r\n"...), r.body...)
	c.out = out
	c.responses.begun = false
	if _, err := c.cut.conn.Write(out); err != nil {
		return 0, nil, fmt.Errorf("send request: %w", err)
	}
	status, body, keep, err = c.responses.next()
	return status, body, err
}

func (c *httpConn) open() bool { return c.cut.conn != nil }

// connect opens the connection, with a TLS handshake where the endpoint is https.
func (c *httpConn) connect(ctx context.Context) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.to.address)
	if err != nil {
		return err
	}
	if c.to.scheme == "https" {
		config := c.tls.Clone()
		if config.ServerName == "" {
			if config.ServerName, _, err = net.SplitHostPort(c.to.address); err != nil {
				return errors.Join(err, conn.Close())
			}
		}
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return errors.Join(fmt.Errorf("TLS handshake with %s: %w", c.to.address, err), conn.Close())
		}
		conn = secure
	}
	c.responses.reset(conn)
	c.cut.Lock()
	defer c.cut.Unlock()
	c.cut.conn, c.cut.done = conn, false
	return nil
}

func (c *httpConn) disconnect() {
	if !c.open() {
		return
	}
	_ = c.cut.conn.Close() // its response was read, or is not needed
	c.cut.Lock()
	defer c.cut.Unlock()
	c.cut.conn = nil
}

// begin makes the end of ctx interrupt the following request. The watch over ctx is kept between
// requests: all those of a phase have the same context, and setting up a watch for each costs as
// much as everything else here.
func (c *httpConn) begin(ctx context.Context) error {
	if c.watched != ctx {
		c.stopWatching()
		c.watched, c.unwatch = ctx, context.AfterFunc(ctx, func() { c.interrupt(ctx) })
	}
	c.cut.Lock()
	c.cut.asking = ctx
	c.cut.Unlock()
	// Check after asking is set: then the end of ctx is either seen here, or it sees asking.
	if ctx.Err() != nil {
		if c.end() {
			c.disconnect()
		}
		return context.Cause(ctx)
	}
	return nil
}

// end reports whether the request was interrupted.
func (c *httpConn) end() (interrupted bool) {
	c.idleSince = time.Now()
	c.cut.Lock()
	defer c.cut.Unlock()
	c.cut.asking = nil
	return c.cut.done
}

// interrupt interrupts the request in flight if it belongs to ctx.
func (c *httpConn) interrupt(ctx context.Context) {
	c.cut.Lock()
	defer c.cut.Unlock()
	if c.cut.asking == ctx && c.cut.conn != nil {
		c.cut.done = true
		// fails only on a closed connection, which has no pending calls
		_ = c.cut.conn.SetDeadline(aLongTimeAgo)
	}
}

func (c *httpConn) stopWatching() {
	if c.unwatch != nil {
		c.unwatch()
	}
	c.watched, c.unwatch = nil, nil
}

// close closes the connection; no request may be in flight.
func (c *httpConn) close() {
	c.turn.Lock()
	defer c.turn.Unlock()
	c.stopWatching()
	c.disconnect()
}
