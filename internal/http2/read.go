package http2

import (
	"errors"
	"io"
	"net"
	"time"
)

const (
	readBufferMin = 4 << 10
	readBufferMax = 64 << 10
)

// reader is a connection's reading half; only the goroutine that reads touches it.
type reader struct {
	buf []byte // unread bytes are buf[off:]
	off int

	hpack  *hpackDecoder
	fields []Field
	req    Request
	memos  memos

	// A header block that continues in CONTINUATION frames.
	block     []byte
	blockHead frameHeader
	fragments int

	maxID       uint32
	last        *Stream // the stream of the last HEADERS; its DATA usually follows
	unacked     int64   // bytes of DATA since the connection's last WINDOW_UPDATE
	gotSettings bool
	wrote       bool // something was appended to the output since the last flush
	backlog     int  // bytes in the output when the last stream was opened
	flood       int
	pings       pingPolicy
}

func (r *reader) init() {
	r.buf = make([]byte, 0, readBufferMin)
	r.hpack = newHPACKDecoder()
}

// read parses frames until the connection ends. It returns early when a handler that it ran inline
// transferred the reading to another goroutine.
func (c *Conn) read(w *Worker) {
	r := &c.in
	for {
		for {
			b := r.buf[r.off:]
			if len(b) < frameHeaderLen {
				break
			}
			h := parseFrameHeader(b)
			if h.length > frameLenMax {
				c.goAway(connError{errFrameSize, "frame longer than SETTINGS_MAX_FRAME_SIZE"})
				return
			}
			if len(b) < frameHeaderLen+h.length {
				break
			}
			r.off += frameHeaderLen + h.length
			st, err := c.frame(h, b[frameHeaderLen:frameHeaderLen+h.length])
			if err != nil {
				c.goAway(err)
				return
			}
			if st != nil && !st.handler.Serve(w) {
				return // the handler had to wait; another goroutine reads
			}
			if r.backlog > backlogMax {
				c.waitBacklog()
			}
		}
		if r.wrote {
			r.wrote = false
			c.mu.Lock()
			c.flushLocked(false)
		}
		n, err := r.more(c.nc)
		if err != nil {
			c.fail(readError(err))
			return
		}
		c.reads.Add(1)
		c.srv.opts.Received(n)
	}
}

// more reads once, after making space for the frame that has begun.
func (r *reader) more(nc net.Conn) (n int, err error) {
	rest := r.buf[r.off:]
	need := len(rest) + 1
	if len(rest) >= frameHeaderLen {
		need = frameHeaderLen + parseFrameHeader(rest).length
	}
	// A read that filled the buffer means that more bytes are waiting.
	size := cap(r.buf)
	if len(r.buf) == size {
		size = min(2*size, readBufferMax)
	}
	for size < need {
		size *= 2
	}
	if size > cap(r.buf) {
		r.buf = append(make([]byte, 0, size), rest...)
	} else if r.off > 0 {
		r.buf = r.buf[:copy(r.buf, rest)]
	}
	r.off = 0
	n, err = nc.Read(r.buf[len(r.buf):cap(r.buf)])
	r.buf = r.buf[:len(r.buf)+n]
	if n > 0 {
		return n, nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return 0, err
}

// waitBacklog returns once the output is below backlogMax, or the connection has ended: requests of
// a client that does not read responses are not read.
func (c *Conn) waitBacklog() {
	c.in.backlog, c.in.wrote = 0, false
	c.mu.Lock()
	c.flushLocked(false) // writes, unless another goroutine does
	c.mu.Lock()
	for len(c.out.buf) > backlogMax && !c.dead {
		c.out.written.Wait()
	}
	c.mu.Unlock()
}

var errPeerClosed = errors.New("peer closed the connection")

func readError(err error) error {
	if errors.Is(err, io.EOF) {
		return errPeerClosed
	}
	return err
}

// frame handles one frame. When it returns a stream, the caller runs the stream's handler.
func (c *Conn) frame(h frameHeader, p []byte) (*Stream, error) {
	r := &c.in
	if r.blockHead.streamID != 0 && (h.typ != frameContinuation || h.streamID != r.blockHead.streamID) {
		return nil, connError{errProtocol, "header block interrupted by another frame"}
	}
	if !r.gotSettings {
		if h.typ != frameSettings || h.flags&flagAck != 0 {
			return nil, connError{errProtocol, "first frame is not SETTINGS"}
		}
		r.gotSettings = true
	}
	switch h.typ {
	case frameData:
		return c.dataFrame(h, p)
	case frameHeaders:
		return c.headersFrame(h, p)
	case frameContinuation:
		return c.continuationFrame(h, p)
	}
	if err := c.countFlood(); err != nil {
		return nil, err
	}
	switch h.typ {
	case frameWindowUpdate:
		return nil, c.windowUpdateFrame(h, p)
	case frameRSTStream:
		return nil, c.rstFrame(h, p)
	case frameSettings:
		return nil, c.settingsFrame(h, p)
	case framePing:
		return nil, c.pingFrame(h, p)
	case framePriority:
		return nil, c.priorityFrame(h, p)
	case frameGoAway:
		if h.streamID != 0 {
			return nil, connError{errProtocol, "GOAWAY on a stream"}
		}
		return nil, nil
	case framePushPromise:
		return nil, connError{errProtocol, "PUSH_PROMISE from a client"}
	}
	return nil, nil // unknown types are ignored (RFC 9113, 4.1)
}

// dataFrame does flow control and passes the bytes to the stream.
func (c *Conn) dataFrame(h frameHeader, p []byte) (*Stream, error) {
	r := &c.in
	if h.streamID == 0 {
		return nil, connError{errProtocol, "DATA on stream 0"}
	}
	body, ok := unpad(&h, p)
	if !ok {
		return nil, connError{errProtocol, "padding longer than the frame"}
	}
	c.receive(len(p))
	st := r.last
	if st == nil || st.id != h.streamID {
		c.mu.Lock()
		st = c.streams[h.streamID]
		c.mu.Unlock()
	}
	if st == nil || st.closed.Load() {
		return nil, c.dataOnClosed(h.streamID)
	}
	if st.recvEnded {
		c.reset(st, errStreamClosed)
		return nil, nil
	}
	end := h.flags&flagEndStream != 0
	if len(body) == 0 && !end {
		if err := c.countFlood(); err != nil {
			return nil, err
		}
	}
	if st.recvWindow.Add(-int64(len(p))) < 0 {
		c.reset(st, errFlowControl)
		return nil, nil
	}
	if pad := len(p) - len(body); pad > 0 {
		st.Credit(pad)
	}
	return st.receive(body, end), nil
}

// dataOnClosed handles DATA on a stream that is not open. DATA on a stream that the server has
// ended is ignored, since its client may not know yet; on one that the client has ended it is an
// error (RFC 9113, 5.1).
func (c *Conn) dataOnClosed(id uint32) error {
	if id > c.in.maxID {
		return connError{errProtocol, "DATA on an idle stream"}
	}
	if err := c.countFlood(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cuts.has(id) {
		return nil
	}
	c.out.buf = appendRSTStream(c.out.buf, id, errStreamClosed)
	return c.countControlLocked()
}

// receive counts n bytes of DATA against the connection's window and returns the credit in halves
// of the window. It returns credit when bytes are read, not when they are used, since a message in
// assembly must be able to complete: the client cannot exceed the window, and limits.recvBytes
// limits the sum.
func (c *Conn) receive(n int) {
	r := &c.in
	r.unacked += int64(n)
	if r.unacked >= int64(c.srv.limits.connWindow)/2 {
		c.mu.Lock()
		c.out.buf = appendWindowUpdate(c.out.buf, 0, uint32(r.unacked))
		c.mu.Unlock()
		r.unacked = 0
		r.wrote = true
	}
}

func (c *Conn) headersFrame(h frameHeader, p []byte) (*Stream, error) {
	r := &c.in
	if h.streamID&1 == 0 {
		return nil, connError{errProtocol, "HEADERS on a stream with an even number"}
	}
	body, ok := unpad(&h, p)
	if !ok {
		return nil, connError{errProtocol, "padding longer than the frame"}
	}
	if h.flags&flagEndHeaders != 0 {
		return c.headerBlock(h, body)
	}
	r.blockHead, r.fragments = h, 0
	r.block = append(r.block[:0], body...)
	return nil, nil
}

func (c *Conn) continuationFrame(h frameHeader, p []byte) (*Stream, error) {
	r := &c.in
	if r.blockHead.streamID == 0 {
		return nil, connError{errProtocol, "CONTINUATION without HEADERS"}
	}
	r.fragments++
	if len(r.block)+len(p) > c.headerBlockMax() || r.fragments > fragmentsMax {
		return nil, connError{errEnhanceYourCalm, "header block too long"}
	}
	r.block = append(r.block, p...)
	if h.flags&flagEndHeaders == 0 {
		return nil, nil
	}
	first := r.blockHead
	r.blockHead = frameHeader{}
	st, err := c.headerBlock(first, r.block)
	if cap(r.block) > readBufferMax {
		r.block = nil
	}
	return st, err
}

// headerBlock decodes a whole block, even for streams that are refused, since the compression state
// belongs to the connection.
func (c *Conn) headerBlock(h frameHeader, block []byte) (*Stream, error) {
	r := &c.in
	if req := r.memos.get(block, r.hpack.changes); req != nil && h.streamID > r.maxID && !h.selfDependent {
		r.maxID = h.streamID
		return nil, c.open(h, req)
	}
	changes := r.hpack.changes
	var err error
	r.fields, err = r.hpack.decode(r.fields[:0], block, c.srv.limits.headerBytes)
	tooLarge := errors.Is(err, errHeadersTooLong)
	if err != nil && !tooLarge {
		return nil, connError{errCompression, err.Error()}
	}
	if h.streamID <= r.maxID {
		return c.trailerBlock(h)
	}
	r.maxID = h.streamID
	if ok := r.req.parse(r.fields); !ok && !tooLarge || h.selfDependent {
		return nil, c.rejectStream(h.streamID, errProtocol)
	}
	r.req.TooLarge = tooLarge
	r.req.Keep = !tooLarge && changes == r.hpack.changes && len(block) <= memoBlockMax
	if err := c.open(h, &r.req); err != nil || r.req.Memo == nil || !r.req.Keep {
		return nil, err
	}
	r.memos.put(block, changes, &r.req)
	return nil, nil
}

// rejectStream resets a stream that was never in the table.
func (c *Conn) rejectStream(id uint32, code errCode) error {
	c.mu.Lock()
	c.lastID = max(c.lastID, id)
	c.out.buf = appendRSTStream(c.out.buf, id, code)
	c.cuts.add(id)
	c.mu.Unlock()
	c.in.wrote = true
	return c.countFlood()
}

// trailerBlock handles a second header block on a stream: the client's trailers, which end its side
// and are not used.
func (c *Conn) trailerBlock(h frameHeader) (*Stream, error) {
	c.mu.Lock()
	st, cut := c.streams[h.streamID], c.cuts.has(h.streamID)
	c.mu.Unlock()
	switch {
	case st == nil && cut:
		return nil, c.countFlood()
	case st == nil:
		return nil, connError{errStreamClosed, "HEADERS on a closed stream"}
	case st.recvEnded:
		c.reset(st, errStreamClosed)
		return nil, nil
	case h.flags&flagEndStream == 0:
		c.reset(st, errProtocol)
		return nil, nil
	}
	return st.receive(nil, true), nil
}

// goAway ends the connection because of err: it sends GOAWAY with the reason and reads no further
// frames.
func (c *Conn) goAway(err error) {
	var ce connError
	if !errors.As(err, &ce) {
		ce = connError{errInternal, err.Error()}
	}
	c.mu.Lock()
	if c.dead {
		c.mu.Unlock()
		return
	}
	c.out.buf = appendGoAway(c.out.buf, c.lastID, ce.code, ce.reason)
	for _, st := range c.streams {
		c.removeLocked(st)
	}
	c.draining, c.goAwayID = true, 0
	// Closing with unread input would reset the connection and could lose the GOAWAY: close the
	// sending side, then read for a moment.
	c.out.halfClose, c.out.closeAfter = true, false
	c.flushLocked(false)
	if _, ok := c.nc.(interface{ CloseWrite() error }); ok {
		c.nc.SetReadDeadline(time.Now().Add(lingerMax))
		for n := 0; n < lingerBytes; {
			got, err := c.nc.Read(c.in.buf[:cap(c.in.buf)])
			if n += got; err != nil {
				break
			}
		}
	}
	c.fail(err)
}
