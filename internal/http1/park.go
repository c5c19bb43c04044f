package http1

import (
	"errors"
	"os"
	"time"
)

// Parks reports whether the connection supports Park: TCP or a Unix socket, with or without TLS.
func (x *exchange) Parks() bool { return x.conn.socket.below != nil }

// Park lets the handler return before the response is written: resume is called later, on another
// goroutine, when Wake has been called, at the time until, or when the client has disconnected, and
// may write the response, or call Park again. Until then the request needs neither a buffer nor the
// stack of its handler. Everything written before is sent.
func (x *exchange) Park(until time.Time, resume func(clientGone bool)) {
	x.Flush() // if that fails the client has disconnected, and await detects it
	x.until, x.resume = until, resume
}

// Wake ends the wait of Park, or makes the next Park return at once. Any goroutine may call it, and
// it never blocks. It does nothing when the response has ended.
func (x *exchange) Wake() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.woken = true
	if x.waiting {
		// fails on a closed connection, which ends the wait too
		_ = x.conn.socket.nc.SetReadDeadline(longAgo)
	}
}

// parked continues a parked request, and then the connection, on a new goroutine, whose stack has
// not grown.
func (c *conn) parked(x *exchange) {
	x.stopWatching()
	for {
		clientGone := x.await()
		resume := x.resume
		x.resume = nil
		if !c.run(x, func() { resume(clientGone) }) {
			return
		}
		switch c.finishHandler(x) {
		case outcomeParked:
			continue
		case outcomeDone:
			c.serve()
		case outcomeHijacked:
		case outcomeBroken:
			c.close()
		}
		return
	}
}

// await waits for Wake, for the time until, or for the client to disconnect, and reports whether it
// has disconnected. Bytes that arrive meanwhile are the next request.
func (x *exchange) await() (clientGone bool) {
	s := &x.conn.socket
	for !clientGone {
		wait, err := x.beginWait()
		switch {
		case err != nil:
		case !wait:
			return x.endWait(false)
		case !s.grow(bufferBytes):
			err = s.below.Read(func(uintptr) bool { return false }) // until the deadline
		case s.raw != nil:
			err = s.fill(0)
		default:
			// A TLS read needs a buffer and a large stack, which a parked request must not hold.
			// Bytes that the TLS connection has decrypted already are the next request, which can
			// wait.
			if err = s.awaitBytes(); err == nil {
				err = s.fill(0)
			}
		}
		if clientGone = err != nil && !errors.Is(err, os.ErrDeadlineExceeded); err != nil && !time.Now().Before(x.until) {
			break
		}
	}
	return x.endWait(clientGone)
}

// endWait ends the wait, and returns whether the client has disconnected.
func (x *exchange) endWait(clientGone bool) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.waiting, x.woken = false, false
	// fails on a closed connection, which the next read detects
	_ = x.conn.socket.nc.SetReadDeadline(time.Time{})
	if clientGone {
		x.markClientGoneLocked()
	}
	return clientGone
}

// beginWait sets the deadline, and reports whether to wait. An error means that the connection is
// closed.
func (x *exchange) beginWait() (wait bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.woken {
		return false, nil
	}
	x.waiting = true
	return true, x.conn.socket.nc.SetReadDeadline(x.until)
}
