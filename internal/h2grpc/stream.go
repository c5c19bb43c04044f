package h2grpc

import (
	"context"
	"encoding/binary"
	"io"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

type streamKind uint8

const (
	kindUnary streamKind = iota
	kindStream
	kindHTTP
)

// stream is one call: an HTTP/2 stream, its context and what gathers for either side.
type stream struct {
	ctx  callContext
	conn *conn
	id   uint32
	kind streamKind
	head *callHead
	req  requestHead // kindHTTP only

	gzip      bool // the client compresses its messages
	gzipReply bool

	// Reader-owned: the message in assembly.
	prefix    [messagePrefixLen]byte
	prefixLen int
	need      int // bytes that the message still lacks
	msg       *buffer
	msgGzip   bool
	recvEnded bool // END_STREAM has been seen
	discard   bool // nobody wants further messages

	// recvWindow is what the client may still send; owed is what it may be given back.
	recvWindow atomic.Int64
	owed       atomic.Int64

	// request is a unary call's message, set before it is dispatched.
	request     *buffer
	requestGzip bool

	// inline is the state of a call that runs on the connection's reader (inline.go).
	inline atomic.Int32

	mu       sync.Mutex // guards the fields below
	queue    []received // kindStream, kindHTTP
	queueEnd error      // what comes after the queue; nil: not known yet
	wake     chan struct{}
	held     int64 // bytes counted in conn.recvBytes
	released bool
	header   metadata.MD
	trailer  metadata.MD
	headSent bool

	// Guarded by conn.mu.
	sendWindow int64
	outq       []outMessage
	outBytes   int
	outLarge   int // of those, bytes of large messages
	inPending  bool
	final      finalState
	remoteDone bool // the client has ended or reset its side
	running    bool // a handler runs
	gone       bool // not in conn.streams any more
	sendWake   chan struct{}
}

// received is a complete message, or for kindHTTP some bytes of the body.
type received struct {
	buf  *buffer
	off  int
	gzip bool
}

// open starts a new stream. It runs on the reader.
func (c *conn) open(h frameHeader, req requestHead) error {
	st := &stream{conn: c, id: h.streamID, head: req.callHead, recvEnded: h.flags&flagEndStream != 0}
	st.ctx.st = st
	st.recvWindow.Store(int64(c.srv.opts.InitialWindow))
	switch {
	case !req.grpc && req.refuse == nil:
		st.kind, st.req = kindHTTP, req
	case req.method != nil && req.method.unary == nil:
		st.kind = kindStream
	}
	if req.hasTimeout && req.refuse == nil {
		if req.timeout <= 0 {
			req.refuse = status.New(codes.DeadlineExceeded, context.DeadlineExceeded.Error())
		}
		st.ctx.deadline = deadlineAfter(req.timeout)
	}
	if req.refuse == nil && req.grpc {
		req.refuse = st.setEncoding()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining && h.streamID > c.goAwayID {
		c.rememberCut(h.streamID)
		return nil // the client knows from GOAWAY that it was not served
	}
	c.lastID = h.streamID
	c.in.last = st
	if uint32(len(c.streams)) >= c.srv.opts.MaxConcurrentStreams || c.orphans >= orphansMax {
		c.out.buf = appendRSTStream(c.out.buf, h.streamID, errRefusedStream)
		c.rememberCut(h.streamID)
		st.gone, c.in.last, c.in.wrote = true, nil, true
		return c.countFlood()
	}
	st.sendWindow = c.out.peerWindow
	st.remoteDone = st.recvEnded
	c.streams[h.streamID] = st
	switch {
	case req.refuse != nil:
		c.refuseLocked(st, req)
	case req.grpc && req.method == nil:
		st.discard = true
		c.finishLocked(st, unknownMethod(c.srv, req.path))
		c.in.wrote = true
	case st.kind == kindUnary:
		if st.recvEnded {
			st.discard = true
			c.finishLocked(st, statusNoMessage)
			c.in.wrote = true
		}
	default:
		st.wake = make(chan struct{}, 1)
		st.sendWake = make(chan struct{}, 1)
		if st.recvEnded {
			st.queueEnd = io.EOF
		}
		st.running = true
		c.srv.workers.run(job{st: st})
	}
	return nil
}

func deadlineAfter(d time.Duration) time.Time { return time.Now().Add(d) }

// refuseLocked answers a request that no handler sees.
func (c *conn) refuseLocked(st *stream, req requestHead) {
	st.discard = true
	c.in.wrote = true
	if req.refuseHTTP != 0 {
		st.mu.Lock()
		st.headSent = true
		st.mu.Unlock()
		o := &c.out
		b := o.hpack.begin(o.block[:0])
		b = appendStatus(b, req.refuseHTTP)
		b = appendField(b, "content-type", "application/grpc")
		b = o.hpack.status(b, req.refuse)
		o.block = b
		o.headers(st.id, b, flagEndStream)
		c.closeLocalLocked(st)
		return
	}
	c.finishLocked(st, req.refuse)
}

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
	c.finishLocked(st, s)
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
	if st.queueEnd == nil || st.queueEnd == io.EOF {
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
		st.mu.Lock()
		if len(st.queue) > 0 {
			m := st.queue[0]
			st.queue[0] = received{}
			st.queue = st.queue[1:]
			n := len(m.buf.b)
			st.unholdLocked(n)
			st.mu.Unlock()
			st.credit(n + messagePrefixLen)
			return m, nil
		}
		end := st.queueEnd
		st.mu.Unlock()
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

// replyType is the content-type of the answer, which names the request's subtype again.
func (st *stream) replyType() string {
	if ct := st.head.contentType; isGRPC(ct) {
		for i := range len(ct) {
			if ct[i] == ';' {
				return ct[:i]
			}
		}
		return ct
	}
	return "application/grpc"
}
