package grpcserver

import (
	"encoding/binary"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cairn/internal/http2"
)

const (
	// messagePrefixLen is the length of a message's prefix: one flag byte and four bytes of length.
	messagePrefixLen = 5
	// firstBytesMax is the size of a message's first buffer.
	firstBytesMax = 16 << 10
)

// Received implements http2.Handler: it processes DATA on the reader.
func (c *call) Received(p []byte, end bool) (inline bool) {
	if !c.assemble(p) {
		return false
	}
	switch {
	case !end:
		c.Widen(c.need)
	case c.prefixLen > 0 || c.need > 0:
		c.refuse(statusCutShort)
	case c.streaming:
		c.push(http2.Received{}, io.EOF)
	case c.request == nil:
		c.refuse(statusNoMessage)
	default:
		in := c.c.srv.opts.Inline
		return c.Dispatch(in != nil && !c.requestGzip && in(c.head.method.fullName, c.request.B, c.Alone()))
	}
	return false
}

// assemble splits the bytes into messages. It reports false when the call was refused.
func (c *call) assemble(p []byte) bool {
	for len(p) > 0 {
		if c.msg == nil {
			n := copy(c.prefix[c.prefixLen:], p)
			c.prefixLen += n
			p = p[n:]
			if c.prefixLen < messagePrefixLen {
				return true
			}
			if !c.beginMessage(len(p)) {
				return false
			}
			if c.msg == nil {
				continue // an empty message, delivered already
			}
		}
		n := min(c.need, len(p))
		had := cap(c.msg.B)
		c.msg = c.msg.Grow(n, c.need)
		if !c.hold(cap(c.msg.B) - had) {
			return false
		}
		c.msg.B = append(c.msg.B, p[:n]...)
		c.need -= n
		p = p[n:]
		if c.need == 0 && !c.deliver() {
			return false
		}
	}
	return true
}

// beginMessage reads the prefix and allocates a buffer, at first only for the received bytes or the
// usual size: the client may never send the claimed length.
func (c *call) beginMessage(have int) bool {
	length := binary.BigEndian.Uint32(c.prefix[1:])
	c.prefixLen = 0
	if limit := c.c.srv.opts.MaxRecvBytes; int64(length) > int64(limit) {
		c.refuse(status.Newf(codes.ResourceExhausted, "grpc: received message larger than max (%d vs. %d)", length, limit))
		return false
	}
	switch c.prefix[0] {
	case 0:
		c.msgGzip = false
	case 1:
		if !c.gzip {
			c.refuse(status.New(codes.Internal, "grpc: compressed flag set with identity or empty encoding"))
			return false
		}
		c.msgGzip = true
	default:
		c.refuse(status.Newf(codes.Internal, "grpc: received unexpected payload format %d", c.prefix[0]))
		return false
	}
	c.need = int(length)
	c.msg = http2.NewBuffer(min(c.need, max(have, firstBytesMax)))
	if !c.hold(cap(c.msg.B)) {
		return false
	}
	if c.need == 0 {
		return c.deliver()
	}
	return true
}

// hold counts n bytes of buffers. It reports false when the call was refused because the connection
// or the server holds too much.
func (c *call) hold(n int) bool {
	if c.Hold(n) {
		return true
	}
	c.refuse(statusTooMany)
	return false
}

// deliver passes the complete message to the call.
func (c *call) deliver() bool {
	m := c.msg
	c.msg = nil
	if c.streaming {
		if !c.serveHere(m) {
			c.push(http2.Received{Buf: m, Flag: c.msgGzip}, nil)
		}
		return true
	}
	if c.request != nil {
		m.Free()
		c.refuse(statusManyMessages)
		return false
	}
	c.request, c.requestGzip = m, c.msgGzip
	return true
}
