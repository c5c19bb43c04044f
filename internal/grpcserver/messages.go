package grpcserver

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cairn/internal/http2"
)

// Messages serves the requests of a method with a stream of them, each with one response. A stream
// without requests has no goroutine, and a request that Message serves needs none: the goroutine
// that reads the connection serves it, and the responses to all requests of one read are sent in
// one write. The methods are called for many calls at the same time.
type Messages interface {
	// Accept reports whether the call can be served in this way; otherwise its handler is called.
	// The call has begun then.
	Accept(ctx context.Context) bool
	// Message serves a request if that is possible without waiting: it appends the encoded response
	// to dst and returns the extended slice.
	Message(request, dst []byte) (response []byte, ok bool)
	// Serve serves at least the first of the requests that have arrived, on a goroutine of its own.
	// An error ends the call.
	Serve(stream grpc.ServerStream) error
	// Ended is called once for each call that was accepted.
	Ended(code codes.Code)
}

// serveMessages reports whether the method's Messages serve the call. The reader calls it.
func (c *call) serveMessages() bool {
	m := c.head.method.messages
	if m == nil || c.gzip || c.gzipReply || !m.Accept(c.Context()) {
		return false
	}
	c.messages = m
	deadline, ok := c.Context().Deadline()
	if ok {
		c.Share()
	}
	c.ParkNew()
	if ok {
		c.mu.Lock()
		c.timer = time.AfterFunc(time.Until(deadline), c.expire)
		c.mu.Unlock()
	}
	return true
}

// serveHere serves a request on the reader, if possible. It then owns the buffer.
func (c *call) serveHere(m *http2.Buffer) bool {
	if c.messages == nil || !c.Parked() {
		return false
	}
	c.Lock()
	queued := c.QueuedLocked()
	c.Unlock()
	if queued { // a handler can wait for the client
		return false
	}
	out, ok := c.messages.Message(m.B, append(c.c.scratch[:0], 0, 0, 0, 0, 0))
	if !ok {
		return false
	}
	c.c.scratch = out
	binary.BigEndian.PutUint32(out[1:], uint32(len(out)-messagePrefixLen))
	c.Lock()
	if !c.EndedLocked() {
		c.headLocked()
		c.SendLocked(out, nil) // copies it
	}
	c.UnlockReader()
	c.Unhold(cap(m.B))
	c.Credit(len(m.B) + messagePrefixLen)
	m.Free()
	return true
}

// push queues a message or the end of the requests. The reader calls it.
func (c *call) push(m http2.Received, end error) {
	switch {
	case c.messages == nil:
		c.Push(m, end)
	case m.Buf == nil && c.Unpark():
		c.Lock()
		c.endLocked(end)
		c.UnlockReader()
	case !c.PushParked(m, end):
		c.ended(codes.Canceled)
	}
}

// serveQueued serves the queued requests on a worker, until the call is parked or has ended.
func (c *call) serveQueued() {
	stream := &serverStream{call: c, desc: c.head.method.stream}
	for {
		parked, end := c.Park()
		if parked {
			return
		}
		if end == nil {
			end = c.messages.Serve(stream)
		}
		if end != nil {
			c.LockServed(false)
			c.endLocked(end)
			c.UnlockServed()
			c.FreeQueue()
			return
		}
	}
}

// endLocked ends the call because of err, which is io.EOF when the client has ended its side.
func (c *call) endLocked(err error) {
	s := statusOK
	if !errors.Is(err, io.EOF) {
		s = statusOf(err)
	}
	c.finishLocked(s)
	c.ended(s.Code())
}

func (c *call) ended(code codes.Code) {
	c.mu.Lock()
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	c.messages.Ended(code)
}

// Abandoned implements http2.Abandoned: the stream of a parked call has ended.
func (c *call) Abandoned() { c.ended(codes.Canceled) }

// expire ends a parked call at its deadline. A request that is being served has the deadline in its
// context.
func (c *call) expire() {
	if !c.Unpark() {
		return
	}
	c.Lock()
	c.endLocked(status.FromContextError(context.DeadlineExceeded).Err())
	c.Flush(false)
}
