package grpcserver

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// transportStream is the value in the context for grpc.SetHeader, grpc.SendHeader and
// grpc.SetTrailer.
type transportStream struct{ *call }

// Method returns the call's full name.
func (t transportStream) Method() string { return t.head.path }

// SetHeader adds to the header metadata, which is sent with the first message.
func (t transportStream) SetHeader(md metadata.MD) error { return t.setHeader(md) }

// SendHeader sends the header metadata now.
func (t transportStream) SendHeader(md metadata.MD) error { return t.sendHeader(md) }

// SetTrailer adds to the trailer metadata.
func (t transportStream) SetTrailer(md metadata.MD) error {
	t.setTrailer(md)
	return nil
}

// errHeadSent is grpc-go's error for a header that is set too late.
var errHeadSent = status.Error(codes.Internal, "transport: the stream is done or WriteHeader was already called")

func (c *call) setHeader(md metadata.MD) error {
	if len(md) == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.headSent {
		return errHeadSent
	}
	c.header = metadata.Join(c.header, md)
	return nil
}

func (c *call) sendHeader(md metadata.MD) error {
	if err := c.setHeader(md); err != nil {
		return err
	}
	c.Lock()
	c.mu.Lock()
	sent := c.headSent
	c.mu.Unlock()
	if sent {
		c.Unlock()
		return errHeadSent
	}
	if c.EndedLocked() {
		c.Unlock()
		return endError(c.EndError())
	}
	c.headLocked()
	c.Flush(false)
	return nil
}

func (c *call) setTrailer(md metadata.MD) {
	if len(md) == 0 {
		return
	}
	c.mu.Lock()
	c.trailer = metadata.Join(c.trailer, md)
	c.mu.Unlock()
}
