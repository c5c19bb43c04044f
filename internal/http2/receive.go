package http2

import (
	"context"
	"errors"
	"io"
	"math"
	"os"
	"time"
)

// Received is an item that a protocol queues for its handler: a message, or some bytes of a body.
type Received struct {
	Buf *Buffer
	// Off is how much of Buf has been consumed; Flag belongs to the protocol.
	Off  int
	Flag bool
}

// receive passes DATA, or the client's end, to the protocol. It runs on the reader, and returns st
// when the reader must run its handler.
func (st *Stream) receive(p []byte, end bool) (inline *Stream) {
	st.got += int64(len(p))
	if st.declared >= 0 && (st.got > st.declared || end && st.got != st.declared) {
		st.conn.reset(st, errProtocol) // malformed (RFC 9113, 8.1.1)
		return nil
	}
	if end {
		st.recvEnded = true
		// Once other goroutines use the stream, conn.mu guards remoteDone.
		if st.shared.Load() || st.discard {
			st.conn.mu.Lock()
			st.remoteDone = true
			st.conn.mu.Unlock()
		} else {
			st.remoteDone = true
		}
	}
	if st.discard || !st.handler.Received(p, end) {
		return nil
	}
	return st
}

// Widen enlarges the window for the need bytes that a message still lacks. The reader calls it.
func (st *Stream) Widen(need int) {
	lack := int64(need) - st.recvWindow.Load()
	if need > 0 && lack > 0 {
		st.grant(lack)
		st.conn.in.wrote = true
	}
}

func (st *Stream) grant(n int64) {
	st.recvWindow.Add(n)
	c := st.conn
	c.mu.Lock()
	if !st.ended {
		c.out.buf = appendWindowUpdate(c.out.buf, st.id, uint32(min(n, math.MaxInt32)))
	}
	c.mu.Unlock()
}

// Credit returns credit for n received bytes that the handler has consumed. The window is enlarged
// in quarters.
func (st *Stream) Credit(n int) {
	window := int64(st.conn.srv.limits.window)
	if st.owed.Add(int64(n)) < window/4 {
		return
	}
	owed := st.owed.Swap(0)
	// Credit that Widen has granted beyond the initial window is not granted twice.
	if over := st.recvWindow.Load() + owed - window; over > 0 {
		owed -= over
	}
	if owed > 0 {
		st.grant(owed)
		c := st.conn
		c.mu.Lock()
		c.flushLocked(false)
	}
}

// Hold counts n bytes of buffers for the request against the connection's limit. It reports false
// when that would exceed the limit, or when the server has no memory for them: then the protocol
// must refuse the request. The reader calls it.
func (st *Stream) Hold(n int) bool {
	c := st.conn
	if n == 0 {
		return true
	}
	if !c.account.TryTake(int64(n)) {
		return false
	}
	st.mu.Lock()
	released := st.released
	if !released {
		st.held += int64(n)
	}
	st.mu.Unlock()
	if released {
		c.account.Give(int64(n))
		return true
	}
	return c.recvBytes.Add(int64(n)) <= int64(c.srv.limits.recvBytes)
}

// HoldMax is how many bytes a connection may hold.
func (st *Stream) HoldMax() int { return st.conn.srv.limits.recvBytes }

// unholdLocked reverses Hold for n bytes that the handler has consumed. st.mu is held.
func (st *Stream) unholdLocked(n int) {
	if !st.released {
		st.held -= int64(n)
		st.conn.recvBytes.Add(-int64(n))
		st.conn.account.Give(int64(n))
	}
}

// Push queues m for the handler, unless m.Buf is nil, and then end, unless end is nil. The reader
// calls it.
func (st *Stream) Push(m Received, end error) {
	st.push(m, end)
	st.wakeReceiver()
}

// push queues an item or the end, and reports whether the stream was parked, which it ends.
func (st *Stream) push(m Received, end error) (wasParked bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if m.Buf != nil {
		st.queue = append(st.queue, m)
	}
	if end != nil && st.queueEnd == nil {
		st.queueEnd = end
	}
	wasParked, st.parked = st.parked, false
	return wasParked
}

// PushBytes queues a copy of p: in the last buffer of the queue if there is space, so that many
// small DATA frames share buffers. It reports false when that would exceed the connection's limit.
// The reader calls it.
func (st *Stream) PushBytes(p []byte) bool {
	st.mu.Lock()
	if n := len(st.queue); n > 0 {
		last := st.queue[n-1].Buf
		room := min(cap(last.B)-len(last.B), len(p))
		last.B = append(last.B, p[:room]...)
		p = p[room:]
	}
	st.mu.Unlock()
	if len(p) == 0 {
		st.wakeReceiver()
		return true
	}
	buf := NewBuffer(len(p))
	if !st.Hold(cap(buf.B)) {
		buf.Free()
		return false
	}
	buf.B = append(buf.B, p...)
	st.Push(Received{Buf: buf}, nil)
	return true
}

// EmptyBody reports whether the client has ended its side and nothing is queued.
func (st *Stream) EmptyBody() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.queue) == 0 && errors.Is(st.queueEnd, io.EOF)
}

func (st *Stream) wakeReceiver() {
	if !st.shared.Load() {
		return
	}
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// wakeSender wakes a sender that waits for space. conn.mu is held.
func (st *Stream) wakeSender() {
	if !st.shared.Load() {
		return
	}
	select {
	case st.sendWake <- struct{}{}:
	default:
	}
}

// hangUp is called when the stream has ended: the receiver gets an error after the queued items,
// and the stream's bytes are no longer counted.
func (st *Stream) hangUp() {
	st.mu.Lock()
	if st.queueEnd == nil || errors.Is(st.queueEnd, io.EOF) {
		st.queueEnd = context.Canceled
	}
	if !st.released {
		st.released = true
		st.conn.recvBytes.Add(-st.held)
		st.conn.account.Give(st.held)
	}
	parked := st.parked
	st.parked = false
	st.mu.Unlock()
	if h, ok := st.handler.(Abandoned); ok && parked {
		h.Abandoned()
	}
	st.wakeReceiver()
}

// Next waits for the next queued item; the caller must free its buffer and call Credit for its
// bytes. It returns the end that was pushed, context.Canceled after the stream has ended, or the
// context's error.
func (st *Stream) Next() (Received, error) { return st.NextWithin(0) }

// NextWithin is Next that waits at most limit and then returns os.ErrDeadlineExceeded; 0 is without
// limit.
func (st *Stream) NextWithin(limit time.Duration) (Received, error) {
	var timeout <-chan time.Time
	for {
		m, ok, end := st.pop()
		if ok {
			return m, nil
		}
		if end != nil {
			return Received{}, end
		}
		if limit > 0 && timeout == nil {
			timeout = time.After(limit)
		}
		select {
		case <-st.wake:
		case <-timeout:
			return Received{}, os.ErrDeadlineExceeded
		case <-st.ctx.Done():
			return Received{}, st.ctx.Err()
		}
	}
}

// NextNow is Next that does not wait: it returns the next queued item if there is one and take
// accepts it. take is called with the queue locked.
func (st *Stream) NextNow(take func(Received) bool) (Received, bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.queue) == 0 || !take(st.queue[0]) {
		return Received{}, false
	}
	m, _, _ := st.popLocked()
	return m, true
}

// pop removes the first item; when there is none, end reports whether there will be no more, and
// why.
func (st *Stream) pop() (m Received, ok bool, end error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.popLocked()
}

func (st *Stream) popLocked() (m Received, ok bool, end error) {
	if len(st.queue) == 0 {
		return Received{}, false, st.queueEnd
	}
	m = st.queue[0]
	st.queue[0] = Received{}
	st.queue = st.queue[1:]
	st.unholdLocked(cap(m.Buf.B))
	return m, true, nil
}

// FreeQueue drops the items that the handler did not consume.
func (st *Stream) FreeQueue() {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, m := range st.queue {
		m.Buf.Free()
	}
	st.queue = nil
}
