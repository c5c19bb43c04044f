package h2grpc

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// receive takes DATA on the reader. It returns the stream when it is a unary call that is to
// run on this goroutine.
func (st *stream) receive(p []byte, end bool) (inline *stream) {
	if end {
		st.recvEnded = true
		// A stream that runs is shared: conn.mu guards what its end looks at.
		if st.kind != kindUnary || st.discard {
			st.conn.mu.Lock()
			st.remoteDone = true
			st.conn.mu.Unlock()
		} else {
			st.remoteDone = true
		}
	}
	if st.discard {
		return nil
	}
	if st.kind == kindHTTP {
		st.receiveBody(p, end)
		return nil
	}
	if !st.assemble(p) {
		return nil
	}
	if !end {
		st.widen()
		return nil
	}
	if st.prefixLen > 0 || st.need > 0 {
		st.refuse(statusCutShort)
		return nil
	}
	if st.kind == kindStream {
		st.push(received{}, io.EOF)
		return nil
	}
	if st.request == nil {
		st.refuse(statusNoMessage)
		return nil
	}
	return st.conn.dispatch(st)
}

// assemble cuts the bytes into messages. It reports false when the stream was refused.
func (st *stream) assemble(p []byte) bool {
	for len(p) > 0 {
		if st.msg == nil {
			n := copy(st.prefix[st.prefixLen:], p)
			st.prefixLen += n
			p = p[n:]
			if st.prefixLen < messagePrefixLen {
				return true
			}
			if !st.beginMessage(len(p)) {
				return false
			}
			if st.msg == nil {
				continue // empty, and delivered already
			}
		}
		n := min(st.need, len(p))
		st.msg = st.msg.grow(n)
		st.msg.b = append(st.msg.b, p[:n]...)
		st.need -= n
		p = p[n:]
		if !st.hold(n) {
			return false
		}
		if st.need == 0 && !st.deliver() {
			return false
		}
	}
	return true
}

// beginMessage reads the prefix and makes room, at first for no more than what is there or
// usual: the length is only the client's word.
func (st *stream) beginMessage(have int) bool {
	length := binary.BigEndian.Uint32(st.prefix[1:])
	st.prefixLen = 0
	if limit := st.conn.srv.opts.MaxRecvBytes; int64(length) > int64(limit) {
		st.refuse(status.Newf(codes.ResourceExhausted, "grpc: received message larger than max (%d vs. %d)", length, limit))
		return false
	}
	switch st.prefix[0] {
	case 0:
		st.msgGzip = false
	case 1:
		if !st.gzip {
			st.refuse(status.New(codes.Internal, "grpc: compressed flag set with identity or empty encoding"))
			return false
		}
		st.msgGzip = true
	default:
		st.refuse(status.Newf(codes.Internal, "grpc: received unexpected payload format %d", st.prefix[0]))
		return false
	}
	st.need = int(length)
	st.msg = newBuffer(min(st.need, max(have, frameLenMax)))
	if st.need == 0 {
		return st.deliver()
	}
	return true
}

// deliver gives the complete message to the call.
func (st *stream) deliver() bool {
	m := st.msg
	st.msg = nil
	if st.kind == kindStream {
		st.push(received{buf: m, gzip: st.msgGzip}, nil)
		return true
	}
	if st.request != nil {
		m.free()
		st.refuse(statusManyMessages)
		return false
	}
	st.request, st.requestGzip = m, st.msgGzip
	return true
}

// widen lets the rest of the message in assembly come, whatever the window was.
func (st *stream) widen() {
	lack := int64(st.need) - st.recvWindow.Load()
	if st.need > 0 && lack > 0 {
		st.grant(lack)
		st.conn.in.wrote = true
	}
}

func (st *stream) grant(n int64) {
	st.recvWindow.Add(n)
	c := st.conn
	c.mu.Lock()
	if !st.gone {
		c.out.buf = appendWindowUpdate(c.out.buf, st.id, uint32(min(n, math.MaxInt32)))
	}
	c.mu.Unlock()
}

// credit notes that n received bytes need no room any more. The window is given back in
// quarters.
func (st *stream) credit(n int) {
	if st.owed.Add(int64(n)) < int64(st.conn.srv.opts.InitialWindow)/4 {
		return
	}
	owed := st.owed.Swap(0)
	// What widen has granted beyond the initial window is not given twice.
	if over := st.recvWindow.Load() + owed - int64(st.conn.srv.opts.InitialWindow); over > 0 {
		owed -= over
	}
	if owed > 0 {
		st.grant(owed)
		c := st.conn
		c.mu.Lock()
		c.flushLocked(false)
	}
}

// hold counts n received bytes against what the connection may hold.
func (st *stream) hold(n int) bool {
	st.mu.Lock()
	released := st.released
	if !released {
		st.held += int64(n)
	}
	st.mu.Unlock()
	if released || st.conn.recvBytes.Add(int64(n)) <= int64(st.conn.srv.opts.MaxConnRecvBytes) {
		return true
	}
	st.refuse(status.Newf(codes.ResourceExhausted, "connection holds more than %d bytes of unserved requests", st.conn.srv.opts.MaxConnRecvBytes))
	return false
}

// unholdLocked is hold's opposite, for n bytes that the handler has taken. st.mu is held.
func (st *stream) unholdLocked(n int) {
	if !st.released {
		st.held -= int64(n)
		st.conn.recvBytes.Add(-int64(n))
	}
}

// refuse ends the call with s: at once when no handler runs, else through its next RecvMsg.
func (st *stream) refuse(s *status.Status) {
	st.discard = true
	if st.msg != nil {
		st.msg.free()
		st.msg = nil
	}
	if st.kind == kindStream {
		st.push(received{}, s.Err())
		return
	}
	c := st.conn
	c.mu.Lock()
	if st.recvEnded {
		st.remoteDone = true
	}
	if st.kind == kindHTTP {
		c.resetLocked(st, errEnhanceYourCalm)
	} else {
		c.finishLocked(st, s)
	}
	c.mu.Unlock()
	c.in.wrote = true
}

// push queues a message, or the end.
func (st *stream) push(m received, end error) {
	st.mu.Lock()
	if m.buf != nil {
		st.queue = append(st.queue, m)
	}
	if end != nil && st.queueEnd == nil {
		st.queueEnd = end
	}
	st.mu.Unlock()
	st.wakeReceiver()
}

func (st *stream) wakeReceiver() {
	if st.wake == nil {
		return
	}
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// wakeSender wakes a SendMsg that waits for room. conn.mu is held.
func (st *stream) wakeSender() {
	if st.sendWake == nil {
		return
	}
	select {
	case st.sendWake <- struct{}{}:
	default:
	}
}

// hangUp is called when the stream has gone: receivers get an error after what is queued,
// and what it held counts no longer.
func (st *stream) hangUp() {
	st.mu.Lock()
	if st.queueEnd == nil || errors.Is(st.queueEnd, io.EOF) {
		st.queueEnd = status.FromContextError(context.Canceled).Err()
	}
	if !st.released {
		st.released = true
		st.conn.recvBytes.Add(-st.held)
	}
	st.mu.Unlock()
	st.wakeReceiver()
}

// next returns the next message; its bytes are the caller's to free.
func (st *stream) next() (received, error) {
	for {
		m, ok, end := st.pop()
		if ok {
			st.credit(len(m.buf.b) + messagePrefixLen)
			return m, nil
		}
		if end != nil {
			return received{}, end
		}
		select {
		case <-st.wake:
		case <-st.ctx.Done():
			return received{}, status.FromContextError(st.ctx.Err()).Err()
		}
	}
}

// pop takes the first message that waits; when none does, end reports whether, and why, none will.
func (st *stream) pop() (m received, ok bool, end error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.queue) == 0 {
		return received{}, false, st.queueEnd
	}
	m = st.queue[0]
	st.queue[0] = received{}
	st.queue = st.queue[1:]
	st.unholdLocked(len(m.buf.b))
	return m, true, nil
}
