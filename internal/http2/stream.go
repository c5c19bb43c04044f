package http2

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// Protocol serves the requests of connections.
type Protocol interface {
	// Accept returns the handler of the requests of one connection.
	Accept(c *Conn) ConnHandler
}

// ConnHandler serves the requests of one connection. The reader calls it, one call at a time.
type ConnHandler interface {
	// Open returns a new Handler for a request. The stream in it is not usable yet; Handler.Started
	// is called next, unless the stream is refused.
	Open(r *Request) Handler
}

// Handler serves one request. A protocol's type embeds Stream, so that a request costs one
// allocation.
type Handler interface {
	// Started is called by the reader once the stream is in the connection's table. end is set when
	// no body follows. It starts the handler by Stream.Run, or by Stream.Dispatch later, or refuses
	// the request.
	Started(end bool)
	// Received processes the bytes of a DATA frame, in the reader. They are valid during the call.
	// When it returns true the reader calls Serve itself.
	Received(p []byte, end bool) (inline bool)
	// Serve handles the request and calls Stream.LockServed before it returns. It returns the
	// result of Stream.UnlockServed.
	Serve(w *Worker) (reading bool)
	// AppendEnd appends the stream's last frame, with END_STREAM, by Stream.Headers or
	// Stream.EmptyData. It is called with the stream locked, after Stream.Finish and when the queue
	// is empty.
	AppendEnd()
	// Value returns the values of the request's context.
	Value(key any) any

	// Base returns the embedded Stream.
	Base() *Stream
}

// Stream is one request and its response, embedded in Handlers. Its exported methods with the
// suffix Locked are called between Lock (or LockServed) and Unlock, Flush or UnlockServed.
type Stream struct {
	ctx     streamContext
	conn    *Conn
	id      uint32
	handler Handler

	// Reader-owned.
	recvEnded bool // END_STREAM has been seen
	discard   bool // the protocol ignores further DATA
	// shared is set, after wake and sendWake, when other goroutines may use the stream
	shared atomic.Bool
	// declared is the body's length according to content-length, -1 without one; got is the number
	// of received bytes.
	declared, got int64

	// closed is set with ended, for readers without conn.mu.
	closed atomic.Bool

	// recvWindow is what the client may still send; owed is credit not yet returned.
	recvWindow atomic.Int64
	owed       atomic.Int64

	// inline is the state of a handler that runs on the connection's reader (inline.go).
	inline atomic.Int32

	mu       sync.Mutex // guards the fields below
	queue    []Received
	queueEnd error // the end of the queue; nil: not known yet
	wake     chan struct{}
	held     int64 // bytes counted in conn.recvBytes
	released bool
	parked   bool // see Park

	// Guarded by conn.mu.
	sendWindow int64
	outq       []outMessage
	outBytes   int
	reserved   int   // bytes reserved for a message that is being encoded
	share      int64 // bytes of reserved that were taken from the budget
	cost       int64 // bytes taken from the budget for the stream itself
	inPending  bool
	final      bool // to be ended once outq is empty
	remoteDone bool // the client has ended or reset its side
	running    bool // a handler runs
	ended      bool // not in conn.streams
	sendWake   chan struct{}
}

// Base implements Handler for the types that embed Stream.
func (st *Stream) Base() *Stream { return st }

// Context returns the request's context. It ends with the handler, the stream, the connection or
// the deadline.
func (st *Stream) Context() context.Context { return &st.ctx }

// Conn returns the stream's connection. It is nil before Handler.Started.
func (st *Stream) Conn() *Conn { return st.conn }

// SetDeadline sets the context's deadline. It may be called before Handler.Started returns.
func (st *Stream) SetDeadline(t time.Time) { st.ctx.deadline = t }

// open starts a new stream. It runs on the reader.
func (c *Conn) open(h frameHeader, req *Request) error {
	end := h.flags&flagEndStream != 0
	if end && req.ContentLength > 0 {
		return c.rejectStream(h.streamID, errProtocol)
	}
	req.EndStream = end
	cost := int64(streamBytes + req.size)
	if req.Exhausted = !c.account.TryTake(cost); req.Exhausted {
		cost = 0
	}
	handler := c.handler.Open(req)
	st := handler.Base()
	st.conn, st.id, st.handler = c, h.streamID, handler
	st.ctx.st, st.cost = st, cost
	st.recvEnded, st.declared = end, req.ContentLength
	st.recvWindow.Store(int64(c.srv.limits.window))
	c.mu.Lock()
	c.in.backlog = len(c.out.buf)
	if c.dead { // while the reader had further frames in its buffer
		err := c.err
		st.releaseLocked()
		c.mu.Unlock()
		return err
	}
	if c.draining && h.streamID > c.goAwayID {
		st.releaseLocked()
		c.cuts.add(h.streamID)
		c.mu.Unlock()
		return nil // GOAWAY has excluded this stream
	}
	c.lastID = h.streamID
	c.in.last = st
	if uint32(len(c.streams)) >= c.srv.opts.MaxConcurrentStreams || c.orphans >= orphansMax {
		c.out.buf = appendRSTStream(c.out.buf, h.streamID, errRefusedStream)
		c.cuts.add(h.streamID)
		st.ended, c.in.last, c.in.wrote = true, nil, true
		st.releaseLocked()
		c.mu.Unlock()
		return c.countFlood()
	}
	st.sendWindow = c.out.peerWindow
	st.remoteDone = end
	c.streams[h.streamID] = st
	c.mu.Unlock()
	handler.Started(end)
	return nil
}

// Run starts the handler on a worker while the body is still arriving. The reader calls it.
func (st *Stream) Run() {
	if st.recvEnded {
		st.queueEnd = io.EOF
	}
	st.Share()
	st.start()
}

// start starts the handler on a worker, and reports false if the stream has ended.
func (st *Stream) start() bool {
	c := st.conn
	c.mu.Lock()
	if st.ended { // the connection has failed
		c.mu.Unlock()
		return false
	}
	st.running = true
	c.mu.Unlock()
	c.srv.workers.run(job{handler: st.handler})
	return true
}

// Abandoned is implemented by Handlers that park their streams: it is called, with the connection
// locked, when a parked stream has ended.
type Abandoned interface{ Abandoned() }

// ParkNew parks a new stream: no handler runs, and the reader passes each item that it cannot serve
// itself to PushParked. The reader calls it, instead of Run.
func (st *Stream) ParkNew() {
	st.mu.Lock()
	st.parked = true
	st.mu.Unlock()
}

// Parked reports whether no handler runs. When it is called by the reader, only the end of the
// stream changes that.
func (st *Stream) Parked() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.parked
}

// Unpark ends a parked stream's state, and reports whether it was parked.
func (st *Stream) Unpark() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	parked := st.parked
	st.parked = false
	return parked
}

// Park parks the stream if nothing is queued: the handler, which calls it, must then return without
// LockServed. Otherwise it returns the end of the queue, or nil if there are items.
func (st *Stream) Park() (parked bool, end error) {
	c := st.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := st.ctx.Err(); err != nil {
		return false, err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.queue) > 0 || st.queueEnd != nil {
		if len(st.queue) == 0 {
			end = st.queueEnd
		}
		return false, end
	}
	st.parked, st.running = true, false
	return true, nil
}

// PushParked is Push for a stream that may be parked: then it starts the handler. It reports false
// when the stream has ended, so that no handler was started.
func (st *Stream) PushParked(m Received, end error) bool {
	// In one step with Unpark: otherwise the handler could park the stream between both.
	if !st.push(m, end) {
		st.wakeReceiver()
		return true
	}
	st.Share()
	return st.start()
}

// Share prepares the stream for goroutines other than the reader. The reader calls it.
func (st *Stream) Share() {
	if !st.shared.Load() {
		st.wake = make(chan struct{}, 1)
		st.sendWake = make(chan struct{}, 1)
		st.shared.Store(true)
	}
}

// Unhold reverses Hold for n bytes that the reader has served itself.
func (st *Stream) Unhold(n int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.unholdLocked(n)
}

// QueuedLocked reports whether messages wait for flow control.
func (st *Stream) QueuedLocked() bool { return len(st.outq) > 0 }

// Dispatch starts the handler of a completely received request: on a worker, or, when onReader is
// set, in the caller, which must then return true from Handler.Received. The reader calls it.
func (st *Stream) Dispatch(onReader bool) (inline bool) {
	c := st.conn
	c.mu.Lock()
	if st.ended {
		c.mu.Unlock()
		return false
	}
	st.running = true
	c.mu.Unlock()
	c.running.Add(1)
	if onReader {
		st.inline.Store(inlineReading)
		return true
	}
	c.srv.workers.run(job{handler: st.handler})
	return false
}

// Alone reports whether no handler of the connection runs, and no further bytes have been read. The
// reader calls it.
func (st *Stream) Alone() bool {
	c := st.conn
	return c.running.Load() == 0 && c.in.off == len(c.in.buf)
}

// Discard makes the reader drop further DATA. The reader calls it.
func (st *Stream) Discard() { st.discard = true }

// Lock locks the stream's connection for appending to its output.
func (st *Stream) Lock() { st.conn.mu.Lock() }

// Unlock unlocks the connection.
func (st *Stream) Unlock() { st.conn.mu.Unlock() }

// UnlockReader unlocks the connection in the reader, which sends the output before it blocks.
func (st *Stream) UnlockReader() {
	st.conn.mu.Unlock()
	st.conn.in.wrote = true
}

// Flush unlocks the connection and sends the output. With combine, dispatched handlers of the
// connection that are about to finish can add their responses first.
func (st *Stream) Flush(combine bool) { st.conn.flushLocked(combine) }

// gatherBytesMax is how much FlushFull lets accumulate: enough that the cost of a system call is
// negligible, and little enough that the first message does not wait for the last.
const gatherBytesMax = 16 << 10

// FlushFull unlocks the connection, and sends the output if it is long or a message waits for flow
// control. A handler that has more to send calls it after each message, and Flush after the last.
func (st *Stream) FlushFull() {
	c := st.conn
	if len(c.out.buf)+c.out.segBytes < gatherBytesMax && len(c.out.pending) == 0 {
		c.mu.Unlock()
		return
	}
	c.flushLocked(false)
}

// LockServed locks the connection after the handler has returned. dispatched distinguishes a
// handler that was started by Dispatch from one that was started by Run. The context ends here.
func (st *Stream) LockServed(dispatched bool) {
	c := st.conn
	if dispatched {
		c.running.Add(-1)
	}
	c.mu.Lock()
	st.running = false
	if st.ended {
		c.orphans--
		st.releaseLocked()
	}
	st.ctx.cancel(context.Canceled)
}

// releaseLocked releases the stream's own bytes of the budget.
func (st *Stream) releaseLocked() {
	st.conn.account.Give(st.cost)
	st.cost = 0
}

// UnlockServed unlocks the connection and makes sure that its output is sent. It reports whether
// the calling goroutine still reads the connection, if it ever did.
func (st *Stream) UnlockServed() (reading bool) {
	c := st.conn
	if st.keepsReading() {
		c.in.wrote = true
		c.mu.Unlock()
		return true
	}
	c.flushLocked(true)
	return false
}

// Ended is EndedLocked for callers that have not locked the connection.
func (st *Stream) Ended() bool { return st.closed.Load() }

// EndedLocked reports whether the stream has ended, so that nothing can be sent on it.
func (st *Stream) EndedLocked() bool { return st.ended }

// FinishLocked ends the stream, after its queued messages, with the frame that Handler.AppendEnd
// appends.
func (st *Stream) FinishLocked() {
	if st.ended || st.final {
		return
	}
	st.final = true
	if len(st.outq) == 0 {
		st.conn.endLocked(st)
		return
	}
	st.conn.out.enqueue(st)
}

// FinishingLocked reports whether FinishLocked has been called.
func (st *Stream) FinishingLocked() bool { return st.final }

// endLocked appends the last frame of st and removes the stream from the table.
func (c *Conn) endLocked(st *Stream) {
	if st.ended {
		return
	}
	st.handler.AppendEnd()
	st.CloseLocked()
}

// CloseLocked removes a stream from the table whose last frame, with END_STREAM, has been appended.
// If the client has not ended its side, RST_STREAM makes it stop sending (RFC 9113, 8.1).
func (st *Stream) CloseLocked() {
	c := st.conn
	if !st.remoteDone {
		c.out.buf = appendRSTStream(c.out.buf, st.id, errNo)
		c.cuts.add(st.id)
	}
	c.removeLocked(st)
}

// ResetCode is the reason for which a protocol resets a stream.
type ResetCode uint32

// The codes that protocols use, of RFC 9113 (7).
const (
	ResetInternal ResetCode = ResetCode(errInternal)
	ResetCalm     ResetCode = ResetCode(errEnhanceYourCalm)
	// ResetRefused means that the request has not been executed: the client may send it again.
	ResetRefused ResetCode = ResetCode(errRefusedStream)
)

// ResetLocked ends the stream with RST_STREAM.
func (st *Stream) ResetLocked(code ResetCode) { st.conn.resetLocked(st, errCode(code)) }

func (c *Conn) resetLocked(st *Stream, code errCode) {
	if st.ended {
		return
	}
	c.out.buf = appendRSTStream(c.out.buf, st.id, code)
	if !st.remoteDone {
		c.cuts.add(st.id)
	}
	c.removeLocked(st)
}

// reset ends a stream that broke a rule; the connection continues. It runs on the reader.
func (c *Conn) reset(st *Stream, code errCode) {
	c.mu.Lock()
	c.resetLocked(st, code)
	c.mu.Unlock()
	c.in.wrote = true
}
