package http2

import (
	"encoding/binary"
)

func (c *Conn) windowUpdateFrame(h frameHeader, p []byte) error {
	if len(p) != 4 {
		return connError{errFrameSize, "WINDOW_UPDATE is not 4 bytes"}
	}
	n := int64(binary.BigEndian.Uint32(p) & windowMax)
	r := &c.in
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.streamID == 0 {
		if n == 0 {
			return connError{errProtocol, "WINDOW_UPDATE by 0"}
		}
		if c.out.window += n; c.out.window > windowMax {
			return connError{errFlowControl, "connection window above 2^31-1"}
		}
		r.wrote = r.wrote || len(c.out.pending) > 0
		return nil
	}
	st := c.streams[h.streamID]
	switch {
	case st == nil && h.streamID > r.maxID:
		return connError{errProtocol, "WINDOW_UPDATE on an idle stream"}
	case st == nil:
		return nil
	case n == 0:
		c.resetLocked(st, errProtocol)
		r.wrote = true
		return nil
	}
	if st.sendWindow += n; st.sendWindow > windowMax {
		c.resetLocked(st, errFlowControl)
		r.wrote = true
		return nil
	}
	if len(st.outq) > 0 {
		c.out.enqueue(st)
		r.wrote = true
	}
	return nil
}

func (c *Conn) rstFrame(h frameHeader, p []byte) error {
	if len(p) != 4 {
		return connError{errFrameSize, "RST_STREAM is not 4 bytes"}
	}
	if h.streamID == 0 || h.streamID > c.in.maxID {
		return connError{errProtocol, "RST_STREAM on an idle stream"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if st := c.streams[h.streamID]; st != nil {
		c.removeLocked(st)
		c.in.wrote = c.in.wrote || c.out.closeAfter || len(c.out.segs) > 0
	}
	return nil
}

func (c *Conn) settingsFrame(h frameHeader, p []byte) error {
	switch {
	case h.streamID != 0:
		return connError{errProtocol, "SETTINGS on a stream"}
	case h.flags&flagAck != 0 && len(p) != 0:
		return connError{errFrameSize, "SETTINGS acknowledgement with a payload"}
	case h.flags&flagAck != 0:
		return nil
	case len(p)%6 != 0:
		return connError{errFrameSize, "SETTINGS is not a multiple of 6 bytes"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	o := &c.out
	window := o.peerWindow
	for ; len(p) > 0; p = p[6:] {
		v := binary.BigEndian.Uint32(p[2:])
		switch binary.BigEndian.Uint16(p) {
		case settingHeaderTableSize:
			o.hpack.limit(v)
		case settingEnablePush:
			if v > 1 {
				return connError{errProtocol, "SETTINGS_ENABLE_PUSH is neither 0 nor 1"}
			}
		case settingInitialWindowSize:
			if v > windowMax {
				return connError{errFlowControl, "SETTINGS_INITIAL_WINDOW_SIZE above 2^31-1"}
			}
			window = int64(v)
		case settingMaxFrameSize:
			if v < frameLenMax || v > 1<<24-1 {
				return connError{errProtocol, "SETTINGS_MAX_FRAME_SIZE out of range"}
			}
			// Larger frames would only delay other streams.
			o.peerFrame = int(min(v, frameLenMax*4))
		}
	}
	// Only the last value counts, so that a frame of a thousand values costs one walk.
	if delta := window - o.peerWindow; delta != 0 {
		o.peerWindow = window
		for _, st := range c.streams {
			if st.sendWindow += delta; st.sendWindow > windowMax {
				return connError{errFlowControl, "stream window above 2^31-1"}
			}
			if len(st.outq) > 0 && delta > 0 {
				o.enqueue(st)
			}
		}
	}
	o.buf = appendFrameHeader(o.buf, 0, frameSettings, flagAck, 0)
	return c.countControlLocked()
}

func (c *Conn) pingFrame(h frameHeader, p []byte) error {
	switch {
	case h.streamID != 0:
		return connError{errProtocol, "PING on a stream"}
	case len(p) != 8:
		return connError{errFrameSize, "PING is not 8 bytes"}
	}
	if h.flags&flagAck != 0 {
		if [8]byte(p) == drainPingData {
			c.goAwayFinally()
		}
		return nil
	}
	c.mu.Lock()
	c.out.buf = appendFrameHeader(c.out.buf, 8, framePing, flagAck, 0)
	c.out.buf = append(c.out.buf, p...)
	open := len(c.streams)
	err := c.countControlLocked()
	c.mu.Unlock()
	if err != nil {
		return err
	}
	return c.checkPing(open)
}

func (c *Conn) priorityFrame(h frameHeader, p []byte) error {
	switch {
	case h.streamID == 0:
		return connError{errProtocol, "PRIORITY on stream 0"}
	case len(p) != 5:
		return connError{errFrameSize, "PRIORITY is not 5 bytes"}
	}
	if dependency(p) == h.streamID {
		c.mu.Lock()
		defer c.mu.Unlock()
		if st := c.streams[h.streamID]; st != nil {
			c.resetLocked(st, errProtocol)
		} else {
			c.out.buf = appendRSTStream(c.out.buf, h.streamID, errProtocol)
		}
		return c.countControlLocked()
	}
	return nil // priorities are advisory, and RFC 9113 deprecates them
}
