package grpcclient

import (
	"encoding/binary"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// call is a call in progress. Until it is complete its fields belong to the connection: those for
// sending are guarded by conn.mu, the others are the reader's. done is closed when it is complete.
type call struct {
	done chan struct{}

	id        uint32
	stream    *Stream // nil for a unary call
	rest      []byte  // encoded messages that have not been sent
	window    int     // bytes of DATA that may be sent
	isBlocked bool    // it is in conn.blocked

	begun    bool // the header has been received
	buffer   []byte
	received int // bytes of DATA since the last WINDOW_UPDATE

	header, trailer metadata.MD
	message         []byte
	err             *Error
}

func newCall(message []byte) *call { return &call{done: make(chan struct{}), rest: message} }

// fail completes the call with an error. It has been removed from its connection.
func (c *call) fail(err *Error) {
	c.err = err
	close(c.done)
	if c.stream != nil {
		c.stream.end(err)
	}
}

// receive adds DATA to the response. It returns an error for a message that is refused.
func (c *call) receive(p []byte, limit int) *Error {
	if c.stream != nil {
		return c.stream.receive(p, limit)
	}
	if cap(c.buffer) == 0 {
		n := len(p)
		if n >= prefixLen {
			n = max(n, prefixLen+min(int(binary.BigEndian.Uint32(p[1:])), limit))
		}
		c.buffer = make([]byte, 0, n)
	}
	c.buffer = append(c.buffer, p...)
	if len(c.buffer) < prefixLen {
		return nil
	}
	if err := checkPrefix(c.buffer, limit); err != nil {
		return err
	}
	if len(c.buffer) > prefixLen+int(binary.BigEndian.Uint32(c.buffer[1:])) {
		return &Error{status.New(codes.Internal, "cardinality violation: received more than one message"), false}
	}
	return nil
}

// checkPrefix returns an error for a message whose prefix is refused.
func checkPrefix(b []byte, limit int) *Error {
	switch n := int(binary.BigEndian.Uint32(b[1:])); {
	case b[0] != 0:
		return &Error{status.New(codes.Internal, "grpc: the response is compressed, which was not offered"), false}
	case n > limit:
		return &Error{status.Newf(codes.ResourceExhausted, "grpc: received message larger than max (%d vs. %d)", n, limit), false}
	}
	return nil
}

// finish completes the call with its status.
func (c *call) finish(s *status.Status) {
	switch n := len(c.buffer) - prefixLen; {
	case s.Code() != codes.OK || c.stream != nil:
		c.fail(&Error{s, false})
	case n < 0 || n != int(binary.BigEndian.Uint32(c.buffer[1:])):
		c.fail(&Error{status.New(codes.Internal, "the response has no complete message"), false})
	default:
		c.message = c.buffer[prefixLen:]
		close(c.done)
	}
}
