package h2grpc

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// callContext is the context of one call. context.WithDeadline, WithValue (three times) and a
// timer would cost some ten allocations per call, most of which no handler looks at; here the
// Done channel, the timer and the metadata come into being when somebody asks.
//
// A context may outlive its call (a handler may leak it into a goroutine), so it is never
// reused.
type callContext struct {
	st       *stream
	deadline time.Time // zero: none

	mu    sync.Mutex
	done  chan struct{}
	err   error
	timer *time.Timer
	after map[*afterFunc]struct{}
}

type afterFunc struct{ f func() }

// The keys under which grpc's packages keep their values are unexported. A probe context
// learns them once from the public functions; the values are then made by those functions
// too, so nothing here depends on how grpc represents them.
var (
	keyIncoming = learnKey(func(ctx context.Context) { metadata.FromIncomingContext(ctx) })
	keyPeer     = learnKey(func(ctx context.Context) { peer.FromContext(ctx) })
	keyStream   = learnKey(func(ctx context.Context) { grpc.ServerTransportStreamFromContext(ctx) })
)

type probeContext struct {
	context.Context
	key any
}

func (p *probeContext) Value(key any) any {
	p.key = key
	return nil
}

func learnKey(ask func(context.Context)) any {
	p := &probeContext{Context: context.Background()}
	ask(p)
	if p.key == nil {
		panic("h2grpc: a grpc package no longer keeps its value in the context")
	}
	return p.key
}

// Deadline implements context.Context.
func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }

// Done implements context.Context. A call that runs on its connection's reader gives the
// reading up here: who asks for Done is about to wait.
func (c *callContext) Done() <-chan struct{} {
	c.st.leaveReader()
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

// startTimerLocked arms the deadline, which until now nobody waited for.
func (c *callContext) startTimerLocked() {
	if c.timer != nil || c.deadline.IsZero() {
		return
	}
	c.timer = time.AfterFunc(time.Until(c.deadline), func() { c.cancel(context.DeadlineExceeded) })
}

// Err implements context.Context.
func (c *callContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && !c.deadline.IsZero() && !time.Now().Before(c.deadline) {
		c.cancelLocked(context.DeadlineExceeded)
	}
	return c.err
}

// Value implements context.Context for grpc's own keys.
func (c *callContext) Value(key any) any {
	switch key {
	case keyIncoming:
		return c.st.head.incoming()
	case keyStream:
		return transportStream{c.st}
	case keyPeer:
		return c.st.conn.peerValue()
	}
	return nil
}

// AfterFunc lets package context attach children without a goroutine each.
func (c *callContext) AfterFunc(f func()) (stop func() bool) {
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

// String names the call in %v of a context.
func (c *callContext) String() string { return "h2grpc.Call(" + c.st.head.path + ")" }

func (c *callContext) cancel(err error) {
	c.mu.Lock()
	c.cancelLocked(err)
	c.mu.Unlock()
}

func (c *callContext) cancelLocked(err error) {
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
