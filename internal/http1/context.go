package http1

import (
	"context"
	"net/http"
	"time"

	"cairn/internal/budget"
)

// An exchange is its request's context.

// Deadline implements context.Context.
func (x *exchange) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value implements context.Context.
func (x *exchange) Value(key any) any {
	if _, ok := key.(budget.Key); ok {
		return x.conn.account
	}
	if key == http.LocalAddrContextKey {
		return x.conn.socket.nc.LocalAddr()
	}
	return nil
}

// Err implements context.Context. While nothing watches the client, it asks the kernel whether the
// client has closed the connection.
func (x *exchange) Err() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.ended && x.done == nil && x.quiet && !x.stopping && !x.hijacked && x.conn.socket.hungUp() {
		x.markClientGoneLocked()
	}
	if x.ended || x.clientGone {
		return context.Canceled
	}
	return nil
}

// Done implements context.Context. The first call starts a goroutine that detects when the client
// disconnects.
func (x *exchange) Done() <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.done == nil {
		x.done = make(chan struct{})
		if x.ended || x.clientGone {
			close(x.done)
		} else {
			x.watchLocked()
		}
	}
	return x.done
}

// bodyRead is called when the body has been read to its end: the next bytes are the next request,
// or the connection's end.
func (x *exchange) bodyRead() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.quiet = true
	x.watchLocked()
}

// watchLocked starts watch, if Done has been called and no other goroutine reads the connection.
func (x *exchange) watchLocked() {
	if x.done == nil || !x.quiet || x.stopping || x.hijacked || x.watcher != nil {
		return
	}
	// The end of the stream cannot be detected behind a request that was read ahead.
	if len(x.conn.socket.ahead()) > 0 {
		return
	}
	x.watcher = make(chan struct{})
	go x.watch(x.watcher)
}

// watch reads ahead until bytes arrive, which are the next request, or the client has disconnected.
func (x *exchange) watch(stopped chan struct{}) {
	defer close(stopped)
	if err := x.conn.socket.fill(0); err != nil {
		x.mu.Lock()
		defer x.mu.Unlock()
		if !x.stopping {
			x.markClientGoneLocked()
		}
	}
}

// markClientGoneLocked records that the client has disconnected. watch and then await may both call
// it.
func (x *exchange) markClientGoneLocked() {
	if x.clientGone {
		return
	}
	x.clientGone = true
	if x.done != nil && !x.ended {
		close(x.done)
	}
}

// stopWatching stops watch, so that the connection can be read again.
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
	// these fail on a closed connection, which stops watch as well
	_ = nc.SetReadDeadline(longAgo)
	<-watcher
	_ = nc.SetReadDeadline(time.Time{})
}

// longAgo is a deadline that ends a read at once.
var longAgo = time.Unix(1, 0)

// end is called when the response has ended, or cannot be completed. It cancels the context;
// goroutines that the handler left behind cannot use the connection any longer.
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
	x.conn.account.Give(x.held)
	if x.done != nil && !x.clientGone {
		close(x.done)
	}
	if x.deadlines && !x.hijacked {
		_ = x.conn.socket.nc.SetDeadline(time.Time{})
	}
}
