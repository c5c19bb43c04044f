package h2grpc

import (
	"errors"
	"net"
	"runtime"
	"sync"
	"time"
)

const (
	// batchBytesMax is how much one system call writes at most: enough to be worth it, little
	// enough that other streams and control frames get their turn and that the bytes leave
	// the cache only once.
	batchBytesMax = 128 << 10
	// copyBytesMax is up to which size a message is copied into the output instead of being
	// written from where it was encoded.
	copyBytesMax = 4 << 10
	// streamQueueMax is how many bytes a stream may have queued before SendMsg waits.
	streamQueueMax = 64 << 10
)

// segment is a piece of a message that goes out between out.buf[:pos] and out.buf[pos:].
type segment struct {
	pos  int
	data []byte
	done *buffer // freed once written: the message's last segment
}

// outMessage is a message, its prefix included, that waits for flow control.
type outMessage struct {
	buf   *buffer
	off   int
	large bool // counts against MaxConnSendBytes
}

// output is a connection's writing half; everything in it is guarded by conn.mu.
type output struct {
	c    *conn
	room sync.Cond // signalled when queued falls below the budget or the connection dies

	buf, spare   []byte
	segs, spareS []segment
	segBytes     int
	iov          net.Buffers
	writing      bool
	closeAfter   bool // close once everything is out
	halfClose    bool // the same, but only our side

	window     int64 // what the peer lets the connection send
	peerWindow int64 // its initial window per stream
	peerFrame  int   // its largest frame
	pending    []*stream
	queued     int // bytes of large messages in streams' queues, or about to be
	hpack      responseEncoder
	block      []byte
	controls   int // answers to the peer's control frames not yet written
}

func (o *output) init(c *conn) {
	o.c = c
	o.room.L = &c.mu
	o.window, o.peerWindow, o.peerFrame = defaultWindow, defaultWindow, frameLenMax
	o.hpack.tableMax = headerTableSize
}

// flushLocked writes what has gathered, unless somebody is writing already, who will then
// take it along. It is entered with conn.mu held and leaves it released. combine lets other
// handlers that are about to finish add their answers first.
func (c *conn) flushLocked(combine bool) {
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
			segs[i].done.free()
			segs[i] = segment{}
		}
		c.mu.Lock()
		if cap(buf) <= 2*batchBytesMax {
			o.spare = buf
		}
		o.spareS = segs
		if err != nil {
			c.failLocked(err)
			break
		}
	}
	o.writing = false
	if o.closeAfter && !c.dead {
		c.failLocked(errDone)
	}
	if half, ok := c.nc.(interface{ CloseWrite() error }); ok && o.halfClose && !c.dead {
		half.CloseWrite() // the reader notices whatever goes wrong
	}
	c.mu.Unlock()
}

// flushAside writes what has gathered from another goroutine, for callers that must not wait
// for the socket.
func (c *conn) flushAside() {
	c.srv.workers.run(job{c: c, do: func(c *conn, _ *worker) {
		c.mu.Lock()
		c.flushLocked(false)
	}})
}

// write puts one batch on the socket. Only the goroutine that set writing calls it.
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
	if o.c.tls != nil {
		return o.writeJoined(iov)
	}
	vec := iov
	_, err := vec.WriteTo(o.c.nc)
	clear(iov)
	return err
}

// writeJoined serves TLS, which has no vectored write and would make a record of each piece.
func (o *output) writeJoined(iov net.Buffers) error {
	joined := newBuffer(batchBytesMax)
	defer joined.free()
	for _, p := range iov {
		joined.b = append(joined.b, p...)
	}
	clear(iov)
	_, err := o.c.nc.Write(joined.b)
	return err
}

// fill moves queued messages to the output, stream by stream in turn and a frame at a time, as
// far as the windows and the batch size allow.
func (o *output) fill() {
	for len(o.pending) > 0 && len(o.buf)+o.segBytes < batchBytesMax {
		st := o.pending[0]
		if !st.gone && len(st.outq) > 0 && st.sendWindow > 0 && o.window <= 0 {
			return
		}
		o.pending = o.pending[1:]
		if st.gone || (len(st.outq) > 0 && st.sendWindow <= 0) {
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
		if st.final.set {
			o.c.endLocked(st)
		}
	}
	if len(o.pending) == 0 {
		o.pending = nil
	}
	if o.queued < o.c.srv.opts.MaxConnSendBytes {
		o.room.Broadcast()
	}
}

// takeFrame emits one DATA frame of st's first message.
func (o *output) takeFrame(st *stream) {
	m := &st.outq[0]
	rest := m.buf.b[m.off:]
	n := min(len(rest), o.peerFrame, int(o.window), int(st.sendWindow))
	data := rest[:n]
	m.off += n
	st.outBytes -= n
	if m.large {
		st.outLarge -= n
		o.queued -= n
	}
	last := n == len(rest)
	o.emitData(st, data)
	if n <= copyBytesMax {
		o.buf = append(o.buf, data...)
		if last && m.off == n { // wholly copied, no segment refers to it
			m.buf.free()
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
	if st.outBytes <= streamQueueMax/2 {
		st.wakeSender()
	}
}

// emitData appends the frame header and takes the bytes off both windows; the payload follows.
func (o *output) emitData(st *stream, data []byte) {
	o.window -= int64(len(data))
	st.sendWindow -= int64(len(data))
	o.buf = appendFrameHeader(o.buf, len(data), frameData, 0, st.id)
	o.c.noteProgress()
}

// sendLocked sends or queues a message. It copies p when that is small; else it takes owned,
// whose bytes p are, and returns true.
func (c *conn) sendLocked(st *stream, p []byte, owned *buffer) (taken bool) {
	o := &c.out
	o.unreserve(st)
	if st.gone || c.dead {
		return false
	}
	if len(st.outq) == 0 && len(o.pending) == 0 && len(p) <= copyBytesMax && len(o.buf) < 2*batchBytesMax &&
		int64(len(p)) <= o.window && int64(len(p)) <= st.sendWindow && len(p) <= o.peerFrame {
		o.emitData(st, p)
		o.buf = append(o.buf, p...)
		return false
	}
	taken = len(p) > copyBytesMax
	if !taken {
		owned = newBuffer(len(p))
		owned.b = append(owned.b, p...)
	}
	m := outMessage{buf: owned, large: len(p) > streamQueueMax}
	st.outq = append(st.outq, m)
	st.outBytes += len(p)
	if m.large {
		st.outLarge += len(p)
		o.queued += len(p)
	}
	o.enqueue(st)
	return taken
}

// sendPiecesLocked sends or queues what follows the first buffer of a message.
func (c *conn) sendPiecesLocked(st *stream, p pieces) {
	for _, piece := range p.list {
		b := &buffer{b: piece, done: p.done}
		if !c.sendLocked(st, piece, b) {
			b.free() // copied, or not to be sent
		}
	}
}

func (o *output) enqueue(st *stream) {
	if !st.inPending {
		st.inPending = true
		o.pending = append(o.pending, st)
	}
}

// forget drops what st still had to send. The buffers may be on their way to the socket, so
// they are left to the garbage collector.
func (o *output) forget(st *stream) {
	o.unreserve(st)
	o.queued -= st.outLarge
	st.outBytes, st.outLarge, st.outq = 0, 0, nil
	st.wakeSender()
	if o.queued < o.c.srv.opts.MaxConnSendBytes {
		o.room.Broadcast()
	}
}

// drop forgets everything; the connection is dead.
func (o *output) drop() {
	o.pending = nil
	if !o.writing {
		o.buf, o.segs = nil, nil
	}
}

// waitRoom waits until the connection's large queued answers are below the budget and takes n
// bytes of it. It is called before a large answer is encoded, so that a peer that does not
// read costs memory for the answers within the budget and not for all of its calls. Small
// answers never wait: a client that neglects a large one still gets them.
func (c *conn) waitRoom(st *stream, n int) {
	o := &c.out
	limit := c.srv.opts.MaxConnSendBytes
	c.mu.Lock()
	defer c.mu.Unlock()
	o.unreserve(st)
	if o.queued >= limit {
		st.leaveReader()
		for o.queued >= limit && !st.gone && !c.dead {
			o.room.Wait()
		}
	}
	if !st.gone {
		st.reserved = n
		o.queued += n
	}
}

// unreserve gives back what waitRoom took: the message is queued now, or never will be.
func (o *output) unreserve(st *stream) {
	if st.reserved == 0 {
		return
	}
	o.queued -= st.reserved
	st.reserved = 0
	if o.queued < o.c.srv.opts.MaxConnSendBytes {
		o.room.Broadcast()
	}
}

// errDone ends a connection that has nothing left to do.
var errDone = errors.New("drained")
