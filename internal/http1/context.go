package http1

import (
	"context"
	"net/http"
	"time"
)

// An exchange is its request's context.

// Deadline implements context.Context.
func (x *exchange) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value implements context.Context.
func (x *exchange) Value(key any) any {
	if key == http.LocalAddrContextKey {
		return x.conn.socket.nc.LocalAddr()
	}
	return nil
}

// Err implements context.Context.
func (x *exchange) Err() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended || x.gone {
		return context.Canceled
	}
	return nil
}

// Done implements context.Context. From the first call on, somebody watches for the client's going
// away.
func (x *exchange) Done() <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.done == nil {
		x.done = make(chan struct{})
		if x.ended || x.gone {
			close(x.done)
		} else {
			x.watchLocked()
		}
	}
	return x.done
}

// bodyRead is called when the body has been read to its end: from here on, what comes is the next
// request, or the end.
func (x *exchange) bodyRead() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.quiet = true
	x.watchLocked()
}

// watchLocked begins to watch for the client's going away if anybody wants to know, and nobody else
// reads.
func (x *exchange) watchLocked() {
	if x.done == nil || !x.quiet || x.stopping || x.taken || x.watcher != nil {
		return
	}
	// A client that has sent its next request already is not gone, or cannot be told from one that
	// is.
	if len(x.conn.socket.ahead()) > 0 {
		return
	}
	x.watcher = make(chan struct{})
	go x.watch(x.watcher)
}

// watch reads ahead until there is something, which is the next request, or the client has gone.
func (x *exchange) watch(stopped chan struct{}) {
	defer close(stopped)
	if err := x.conn.socket.fill(0); err != nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		if !x.stopping {
			x.goneLocked()
		}
	}
}

// goneLocked notes that the client has gone, which watch and then await may both find.
func (x *exchange) goneLocked() {
	if x.gone {
		return
	}
	x.gone = true
	if x.done != nil && !x.ended {
		close(x.done)
	}
}

// stopWatching ends watch, so that the connection can be read again.
func (x *exchange) stopWatching() {
	x.mu.Lock()
	x.stopping = true
	watcher := x.watcher
	x.watcher = nil
	x.mu.Unlock()
	if watcher == nil {
		return
	}
	nc := x.conn.socket.nc
	// these fail on a connection that is closed, which ends watch as well
	_ = nc.SetReadDeadline(longAgo)
	<-watcher
	_ = nc.SetReadDeadline(time.Time{})
}

// longAgo is a deadline that ends a read at once.
var longAgo = time.Unix(1, 0)

// end is called when the response has ended, or cannot be: the context is cancelled, and nothing
// that the handler has left behind reaches the connection any more.
func (x *exchange) end() {
	x.stopWatching()
	x.writing.Lock()
	x.closed = true
	x.writing.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return
	}
	x.ended = true
	if x.done != nil && !x.gone {
		close(x.done)
	}
	if x.deadlines && !x.taken {
		_ = x.conn.socket.nc.SetDeadline(time.Time{})
	}
}
