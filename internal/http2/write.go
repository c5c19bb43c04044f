package http2

import (
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"time"
)

const (
	// batchBytesMax is the maximum size of one write: large enough to be efficient, small enough
	// that other streams and control frames get their turn and that the bytes leave the cache only
	// once.
	batchBytesMax = 128 << 10
	// CopyBytesMax is the size of the largest message that is copied into the output; larger ones
	// are written without a copy.
	CopyBytesMax = 4 << 10
	// QueueBytesMax is the number of queued bytes of a stream above which its handler must wait
	// (WaitQueue).
	QueueBytesMax = 64 << 10
)

// segment is a piece of a message that is sent between out.buf[:pos] and out.buf[pos:].
type segment struct {
	pos  int
	data []byte
	done *Buffer // freed once written: the message's last segment
}

// outMessage is a message that waits for flow control.
type outMessage struct {
	buf *Buffer
	off int
}

// output is a connection's writing half; everything in it is guarded by Conn.mu.
type output struct {
	c       *Conn
	room    chan struct{} // closed when queued falls; nil: no waiter
	written sync.Cond     // signalled after each write, and when the connection has ended

	buf, spare   []byte
	segs, spareS []segment
	segBytes     int
	iov          net.Buffers
	writing      bool
	closeAfter   bool // close once everything is out
	halfClose    bool // the same, but only the sending side

	window     int64 // the peer's window of the connection
	peerWindow int64 // its initial window per stream
	peerFrame  int   // its largest frame
	pending    []*Stream
	emitted    int64 // bytes of messages moved to the output
	queued     int   // bytes in streams' queues, and reserved by handlers that encode
	hpack      encoder
	block      []byte
	controls   int // replies to the peer's control frames not yet written
}

func (o *output) init(c *Conn) {
	o.c = c
	o.written.L = &c.mu
	o.window, o.peerWindow, o.peerFrame = defaultWindow, defaultWindow, frameLenMax
	o.hpack.tableMax = headerTableSize
}

// flushLocked writes the output, unless another goroutine is writing, which then writes it too. It
// is called with c.mu held and releases it. combine lets other handlers that are about to finish
// add their responses first.
func (c *Conn) flushLocked(combine bool) {
	o := &c.out
	if o.writing || c.dead {
		c.mu.Unlock()
		return
	}
	o.writing = true
	for {
		if combine && len(o.buf) < batchBytesMax/4 && c.running.Load() > 0 {
			c.mu.Unlock()
			runtime.Gosched()
			c.mu.Lock()
		}
		o.fill()
		if len(o.buf) == 0 && len(o.segs) == 0 {
			break
		}
		if c.dead {
			break
		}
		buf, segs, size := o.buf, o.segs, len(o.buf)+o.segBytes
		o.buf, o.segs, o.segBytes, o.controls = o.spare[:0], o.spareS[:0], 0, 0
		o.spare, o.spareS = nil, nil
		c.mu.Unlock()
		c.writeStart.Store(time.Now().UnixNano())
		err := o.write(buf, segs)
		c.writeStart.Store(0)
		if err == nil {
			c.srv.opts.Sent(size)
		}
		for i := range segs {
			segs[i].done.Free()
			segs[i] = segment{}
		}
		c.mu.Lock()
		if cap(buf) <= 2*batchBytesMax {
			o.spare = buf
		}
		o.spareS = segs
		o.written.Broadcast()
		if err != nil {
			c.failLocked(err)
			break
		}
	}
	o.writing = false
	if c.dead {
		o.drop()
	}
	if o.closeAfter && !c.dead {
		c.failLocked(errDone)
	}
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok && o.halfClose && !c.dead {
		half.CloseWrite() // the reader notices a failure
	}
	c.mu.Unlock()
}

// flushOnWorker writes the output on another goroutine, for callers that must not wait for the
// socket.
func (c *Conn) flushOnWorker() {
	c.srv.workers.run(job{c: c, do: func(c *Conn, _ *Worker) {
		c.mu.Lock()
		c.flushLocked(false)
	}})
}

// write writes one batch to the socket. Only the goroutine that set writing calls it.
func (o *output) write(buf []byte, segs []segment) error {
	if len(segs) == 0 {
		_, err := o.c.nc.Write(buf)
		return err
	}
	iov := o.iov[:0]
	from := 0
	for _, s := range segs {
		if s.pos > from {
			iov = append(iov, buf[from:s.pos])
			from = s.pos
		}
		if len(s.data) > 0 {
			iov = append(iov, s.data)
		}
	}
	if from < len(buf) {
		iov = append(iov, buf[from:])
	}
	o.iov = iov
	if len(iov) == 0 {
		return nil // segments of streams that have ended
	}
	if o.c.tls != nil {
		return o.writeJoined(iov)
	}
	vec := iov
	_, err := vec.WriteTo(o.c.nc)
	clear(iov)
	return err
}

// writeJoined writes to TLS, which has no vectored write and would make a record of each piece.
func (o *output) writeJoined(iov net.Buffers) error {
	joined := NewBuffer(batchBytesMax)
	defer joined.Free()
	for _, p := range iov {
		joined.B = append(joined.B, p...)
	}
	clear(iov)
	_, err := o.c.nc.Write(joined.B)
	return err
}

// fill moves queued messages to the output, one frame per stream in turn, as far as the windows and
// the batch size allow.
func (o *output) fill() {
	for len(o.pending) > 0 && len(o.buf)+o.segBytes < batchBytesMax {
		st := o.pending[0]
		if !st.ended && len(st.outq) > 0 && st.sendWindow > 0 && o.window <= 0 {
			return
		}
		o.pending = o.pending[1:]
		if st.ended || (len(st.outq) > 0 && st.sendWindow <= 0) {
			st.inPending = false
			continue
		}
		if len(st.outq) > 0 {
			o.takeFrame(st)
		}
		if len(st.outq) > 0 {
			o.pending = append(o.pending, st)
			continue
		}
		st.inPending = false
		if st.final {
			o.c.endLocked(st)
		}
	}
	if len(o.pending) == 0 {
		o.pending = nil
	}
	o.signalRoom()
}

// signalRoom wakes handlers that wait for space.
func (o *output) signalRoom() {
	if o.room != nil && o.queued < o.roomBytes() {
		close(o.room)
		o.room = nil
	}
}

// roomBytes is the number of queued bytes above which a long message waits.
func (o *output) roomBytes() int {
	return min(o.c.srv.limits.sendBytes, int(o.c.account.ResponseRoom()))
}

// takeFrame emits one DATA frame of st's first message.
func (o *output) takeFrame(st *Stream) {
	m := &st.outq[0]
	rest := m.buf.B[m.off:]
	n := min(len(rest), o.peerFrame, int(o.window), int(st.sendWindow))
	data := rest[:n]
	m.off += n
	st.outBytes -= n
	o.queued -= n
	last := n == len(rest)
	o.emitData(st, data)
	if n <= CopyBytesMax {
		o.buf = append(o.buf, data...)
		if last && m.off == n { // completely copied, no segment refers to it
			m.buf.Free()
		} else if last {
			o.segs = append(o.segs, segment{pos: len(o.buf), done: m.buf})
		}
	} else {
		s := segment{pos: len(o.buf), data: data}
		if last {
			s.done = m.buf
		}
		o.segs = append(o.segs, s)
		o.segBytes += n
	}
	if last {
		st.outq[0] = outMessage{}
		st.outq = st.outq[1:]
	}
	if st.outBytes <= QueueBytesMax/2 {
		st.wakeSender()
	}
}

// emitData appends the frame header and subtracts the bytes from both windows; the payload follows.
func (o *output) emitData(st *Stream, data []byte) {
	o.window -= int64(len(data))
	o.emitted += int64(len(data))
	st.sendWindow -= int64(len(data))
	o.buf = appendFrameHeader(o.buf, len(data), frameData, 0, st.id)
	o.c.markProgress()
}

// SendLocked sends or queues a message. It copies p when that is small; otherwise it takes
// ownership of owned, whose bytes p are, and returns true.
func (st *Stream) SendLocked(p []byte, owned *Buffer) (taken bool) {
	c := st.conn
	o := &c.out
	share := st.share
	st.share = 0
	o.unreserve(st)
	defer func() { c.account.Give(share) }()
	if st.ended || c.dead {
		return false
	}
	if len(st.outq) == 0 && len(o.pending) == 0 && len(p) <= CopyBytesMax && len(o.buf) < 2*batchBytesMax &&
		int64(len(p)) <= o.window && int64(len(p)) <= st.sendWindow && len(p) <= o.peerFrame {
		o.emitData(st, p)
		o.buf = append(o.buf, p...)
		return false
	}
	taken = len(p) > CopyBytesMax
	if !taken {
		owned = NewBuffer(len(p))
		owned.B = append(owned.B, p...)
		// Without memory it is queued nevertheless, and the stream waits from now on: see
		// WaitQueue.
		if n := int64(cap(owned.B)); share == 0 && c.account.TryTake(n) {
			share = n
		}
	}
	owned.share, owned.account = share, c.account
	share = 0
	st.outq = append(st.outq, outMessage{buf: owned})
	st.outBytes += len(p)
	o.queued += len(p)
	o.enqueue(st)
	return taken
}

// Pieces are the rest of a long message, which is sent without a copy.
type Pieces struct {
	List [][]byte
	// Release is called with a piece once it is sent or dropped, on any goroutine, except a piece
	// that is being written to the socket when the stream ends.
	Release func(piece []byte)
}

// Free releases all pieces.
func (p Pieces) Free() {
	for _, piece := range p.List {
		p.Release(piece)
	}
}

// SendPiecesLocked sends or queues the pieces after the first buffer of a message.
func (st *Stream) SendPiecesLocked(p Pieces) {
	for _, piece := range p.List {
		b := &Buffer{B: piece, release: p.Release}
		if !st.SendLocked(piece, b) {
			b.Free() // copied, or the stream has ended
		}
	}
}

// WaitQueue waits until the stream may queue more. It returns the context's error, or
// context.Canceled when the stream has ended.
func (st *Stream) WaitQueue() error { return st.WaitQueueWithin(0) }

// WaitQueueWithin is WaitQueue that waits at most limit and then returns os.ErrDeadlineExceeded; 0
// is without limit.
func (st *Stream) WaitQueueWithin(limit time.Duration) error {
	c := st.conn
	var timeout <-chan time.Time
	for {
		c.mu.Lock()
		ended, full := st.ended, st.outBytes > QueueBytesMax || st.outBytes > CopyBytesMax && c.account.Scarce()
		c.mu.Unlock()
		if ended {
			return st.EndError()
		}
		if !full {
			return nil
		}
		if limit > 0 && timeout == nil {
			timeout = time.After(limit)
		}
		select {
		case <-st.sendWake:
		case <-timeout:
			return os.ErrDeadlineExceeded
		case <-st.ctx.Done():
			return st.ctx.Err()
		}
	}
}

// EndError returns why a stream has ended: its context's error, or ErrServerStopped.
func (st *Stream) EndError() error {
	if err := st.ctx.Err(); err != nil {
		return err
	}
	return ErrServerStopped
}

func (o *output) enqueue(st *Stream) {
	if !st.inPending {
		st.inPending = true
		o.pending = append(o.pending, st)
	}
}

// forget drops the unsent messages of st. A message that is partly being written to the socket is
// freed after the next write.
func (o *output) forget(st *Stream) {
	o.unreserve(st)
	o.queued -= st.outBytes
	for i := range st.outq {
		m := &st.outq[i]
		if m.off == 0 || o.c.dead && !o.writing {
			m.buf.Free()
		} else {
			o.segs = append(o.segs, segment{pos: len(o.buf), done: m.buf})
		}
	}
	st.outBytes, st.outq = 0, nil
	st.wakeSender()
	o.signalRoom()
}

// drop releases all output of a connection that has ended; if a goroutine is writing, that
// goroutine releases it.
func (o *output) drop() {
	o.pending = nil
	o.written.Broadcast()
	if o.writing {
		return
	}
	for i := range o.segs {
		o.segs[i].done.Free()
	}
	o.buf, o.segs, o.spare, o.spareS = nil, nil, nil, nil
}

// NotTaken is the share of a message for which nothing has been taken from the account.
const NotTaken = -1

// WaitRoom waits, until the context ends, for space for a message of n bytes and reserves it. It is
// called before a message above CopyBytesMax is encoded, so that a client that does not read costs
// memory for some responses and not for all of its requests. Small messages never wait: a client
// that neglects a long response still gets short ones. share is NotTaken, or what has been taken
// from the connection's account for the message: the stream gives that back, also after an error.
func (st *Stream) WaitRoom(n int, share int64) error {
	c := st.conn
	o := &c.out
	c.mu.Lock()
	o.unreserve(st)
	for {
		if st.ended {
			c.mu.Unlock()
			c.account.Give(max(share, 0))
			return st.EndError()
		}
		limit := o.roomBytes()
		if n <= QueueBytesMax {
			limit *= 4 // unread long responses do not stop shorter ones
		}
		if o.queued < limit {
			break
		}
		if o.room == nil {
			o.room = make(chan struct{})
		}
		room := o.room
		c.mu.Unlock()
		st.LeaveReader()
		select {
		case <-room:
		case <-st.ctx.Done():
			c.account.Give(max(share, 0))
			return st.ctx.Err()
		}
		c.mu.Lock()
	}
	st.reserved = n
	o.queued += n
	if share != NotTaken {
		st.share = share
		c.mu.Unlock()
		return nil
	}
	take := int64(bufferBytes(n))
	if c.account.TryTake(take) {
		st.share = take
		c.mu.Unlock()
		return nil
	}
	c.mu.Unlock()
	st.LeaveReader()
	err := c.account.Take(&st.ctx, take)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil:
		o.unreserve(st)
		return err
	case st.ended:
		c.account.Give(take)
		return st.EndError()
	}
	st.share = take
	return nil
}

// unreserve releases the reservation of WaitRoom: the message is queued now, or was dropped.
func (o *output) unreserve(st *Stream) {
	if st.share != 0 {
		o.c.account.Give(st.share)
		st.share = 0
	}
	if st.reserved == 0 {
		return
	}
	o.queued -= st.reserved
	st.reserved = 0
	o.signalRoom()
}

// errDone ends a connection that has nothing left to do after GOAWAY.
var errDone = errors.New("drained")
