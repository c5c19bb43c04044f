package http1

import (
	"errors"
	"os"
	"time"
)

// Parks reports whether the connection is one that Park can be used with: one of TCP or a Unix
// socket, with TLS or without.
func (x *exchange) Parks() bool { return x.conn.socket.below != nil }

// Park makes the response come later than the handler returns: resume is called, on another
// goroutine, when Wake has been called, when the time has come, or when the client has gone, and
// may write the response, or Park again. Until then the request costs neither a buffer nor the
// stack of its handler. What was written before is sent.
func (x *exchange) Park(until time.Time, resume func(gone bool)) {
	x.Flush() // where that fails the client is gone, and await finds out
	x.until, x.resume = until, resume
}

// Wake ends the waiting of Park, or has the next Park not wait at all. Any goroutine may call it,
// and it never waits. When the response has ended it does nothing.
func (x *exchange) Wake() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.woken = true
	if x.waiting {
		// fails on a connection that is closed, which ends the waiting too
		_ = x.conn.socket.nc.SetReadDeadline(longAgo)
	}
}

// parked goes on with a request whose handler has parked it, and with the connection. It is where
// its goroutine begins, with a stack that has not grown.
func (c *conn) parked(x *exchange) {
	x.stopWatching()
	for {
		gone := x.await()
		resume := x.resume
		x.resume = nil
		if !c.run(x, func() { resume(gone) }) {
			return
		}
		switch c.settle(x) {
		case outcomeParked:
			continue
		case outcomeDone:
			c.serve()
		case outcomeTaken:
		case outcomeBroken:
			c.close()
		}
		return
	}
}

// await waits for Wake, for the time to come, or for the client to go away, which it tells. What
// the client sends in the meantime is its next request.
func (x *exchange) await() (gone bool) {
	s := &x.conn.socket
	for !gone {
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
			// TLS reads into a buffer, and on a stack, that a request which waits is to be spared.
			// What the connection has decrypted already is the next request, for which there is
			// time.
			if err = s.awaitBytes(); err == nil {
				err = s.fill(0)
			}
		}
		if gone = err != nil && !errors.Is(err, os.ErrDeadlineExceeded); err != nil && !time.Now().Before(x.until) {
			break
		}
	}
	return x.endWait(gone)
}

// endWait ends the waiting, and returns whether the client has gone.
func (x *exchange) endWait(gone bool) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.waiting, x.woken = false, false
	// fails on a connection that is closed, which the next read finds
	_ = x.conn.socket.nc.SetReadDeadline(time.Time{})
	if gone {
		x.goneLocked()
	}
	return gone
}

// beginWait sets the deadline, and reports whether there is to be any waiting. An error is that of
// a connection that is closed.
func (x *exchange) beginWait() (wait bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.woken {
		return false, nil
	}
	x.waiting = true
	return true, x.conn.socket.nc.SetReadDeadline(x.until)
}
