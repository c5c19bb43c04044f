package http2

import (
	"context"
	"sync"
	"time"

	"cairn/internal/budget"
)

// streamContext is the context of one request. context.WithDeadline, WithValue and a timer would
// cost some ten allocations per request, which most handlers do not need; here the Done channel and
// the timer are made on demand, and values come from the stream's Handler.
//
// A context may outlive its request (a handler may leak it into a goroutine), so it is never
// reused.
type streamContext struct {
	st       *Stream
	deadline time.Time // zero: none

	mu    sync.Mutex // guards the fields below
	done  chan struct{}
	err   error
	timer *time.Timer
	after map[*afterFunc]struct{}
}

type afterFunc struct{ f func() }

// Deadline implements context.Context.
func (c *streamContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }

// Done implements context.Context. A handler that calls Done is about to wait, so if it runs on its
// connection's reader, another goroutine takes over the reading here.
func (c *streamContext) Done() <-chan struct{} {
	c.st.LeaveReader()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.err != nil {
			close(c.done)
		} else {
			c.startTimerLocked()
		}
	}
	return c.done
}

// startTimerLocked starts the deadline's timer.
func (c *streamContext) startTimerLocked() {
	if c.timer != nil || c.deadline.IsZero() {
		return
	}
	c.timer = time.AfterFunc(time.Until(c.deadline), func() { c.cancel(context.DeadlineExceeded) })
}

// Err implements context.Context.
func (c *streamContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && !c.deadline.IsZero() && !time.Now().Before(c.deadline) {
		c.cancelLocked(context.DeadlineExceeded)
	}
	return c.err
}

// Value implements context.Context with the connection's account and the values of the stream's
// handler.
func (c *streamContext) Value(key any) any {
	if _, ok := key.(budget.Key); ok {
		return c.st.conn.account
	}
	return c.st.handler.Value(key)
}

// AfterFunc lets package context attach children without a goroutine each.
func (c *streamContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		go f()
		return func() bool { return false }
	}
	a := &afterFunc{f: f}
	if c.after == nil {
		c.after = make(map[*afterFunc]struct{})
	}
	c.after[a] = struct{}{}
	c.startTimerLocked()
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, pending := c.after[a]
		delete(c.after, a)
		return pending
	}
}

// String returns the text of a context for %v.
func (c *streamContext) String() string { return "http2.Stream" }

func (c *streamContext) cancel(err error) {
	c.mu.Lock()
	c.cancelLocked(err)
	c.mu.Unlock()
}

func (c *streamContext) cancelLocked(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	if c.done != nil {
		close(c.done)
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	for a := range c.after {
		go a.f()
	}
	c.after = nil
}
