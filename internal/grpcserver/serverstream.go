package grpcserver

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"cairn/internal/budget"
	"cairn/internal/http2"
)

// serverStream is a streaming call as its handler sees it. SendMsg and RecvMsg may be used by one
// goroutine each at the same time, as gRPC requires.
type serverStream struct {
	call     *call
	desc     *grpc.StreamDesc
	received bool
	out      *http2.Buffer
	gathered *http2.Buffer // messages of SendMore, at most CopyBytesMax; nil: none
}

var _ grpc.ServerStream = (*serverStream)(nil)

func (c *call) serveStream() (reading bool) {
	m := c.head.method
	s := statusOK
	out := &serverStream{call: c, desc: m.stream}
	if err := m.stream.Handler(m.impl, out); err != nil {
		s = statusOf(err)
	}
	c.LockServed(false)
	out.sendGatheredLocked()
	c.finishLocked(s)
	c.UnlockServed()
	c.FreeQueue()
	return false
}

// Context implements grpc.ServerStream.
func (s *serverStream) Context() context.Context { return s.call.Context() }

// SetHeader implements grpc.ServerStream.
func (s *serverStream) SetHeader(md metadata.MD) error { return s.call.setHeader(md) }

// SendHeader implements grpc.ServerStream.
func (s *serverStream) SendHeader(md metadata.MD) error { return s.call.sendHeader(md) }

// SetTrailer implements grpc.ServerStream.
func (s *serverStream) SetTrailer(md metadata.MD) { s.call.setTrailer(md) }

// SendMsg encodes m and sends or queues it. It waits while the stream, or the connection, has a
// full queue: so a slow client slows only its own handler. m may be modified afterwards.
func (s *serverStream) SendMsg(m any) error {
	if err := s.sendGathered(); err != nil {
		return err
	}
	if err := s.appendMsg(m); err != nil {
		return err
	}
	s.call.Flush(true)
	return nil
}

// SendMore is SendMsg for a handler that has more to send at once: the message may stay in the
// output until the next SendMsg or Flush, so that many small messages cost one frame and one system
// call. As with SendMsg, no call may run when the handler returns.
func (s *serverStream) SendMore(m any) error {
	if isSmall(m) {
		return s.gather(m)
	}
	if err := s.sendGathered(); err != nil {
		return err
	}
	if err := s.appendMsg(m); err != nil {
		return err
	}
	s.call.FlushFull()
	return nil
}

// Flush sends what SendMore has left in the output.
func (s *serverStream) Flush() {
	s.call.Lock()
	s.sendGatheredLocked()
	s.call.Flush(true)
}

// isSmall reports whether no space is reserved for the encoding of m, so that its message may wait
// among the gathered ones.
func isSmall(m any) bool {
	n := 0
	switch m := m.(type) {
	case WirePieces:
		return false
	case WireSizer:
		n = m.SizeWire()
	case proto.Message:
		n = proto.Size(m)
	}
	return n+messagePrefixLen <= http2.CopyBytesMax
}

// gather encodes m behind the gathered messages.
func (s *serverStream) gather(m any) error {
	if _, err := s.encode(m); err != nil {
		return err
	}
	n := len(s.out.B)
	if s.gathered != nil && len(s.gathered.B)+n > http2.CopyBytesMax {
		if err := s.sendGathered(); err != nil {
			return err
		}
	}
	if s.gathered == nil {
		s.gathered = http2.NewBuffer(http2.CopyBytesMax)
	}
	s.gathered.B = append(s.gathered.B, s.out.B...)
	return nil
}

// sendGathered appends the gathered messages to the connection's output.
func (s *serverStream) sendGathered() error {
	if s.gathered == nil {
		return nil
	}
	c := s.call
	if err := c.WaitQueue(); err != nil {
		return endError(err)
	}
	c.Lock()
	if c.EndedLocked() {
		c.Unlock()
		return endError(c.EndError())
	}
	s.sendGatheredLocked()
	c.FlushFull()
	return nil
}

// sendGatheredLocked is sendGathered without a wait; it drops the messages of a stream that has
// ended. The connection is locked.
func (s *serverStream) sendGatheredLocked() {
	if s.gathered == nil {
		return
	}
	if !s.call.EndedLocked() {
		s.call.headLocked()
		if s.call.SendLocked(s.gathered.B, s.gathered) {
			s.gathered = nil
			return
		}
	}
	s.gathered.Free()
	s.gathered = nil
}

// appendMsg encodes m and appends it to the output. Without an error it leaves the call's
// connection locked.
func (s *serverStream) appendMsg(m any) error {
	c := s.call
	if err := c.WaitQueue(); err != nil {
		return endError(err)
	}
	rest, err := s.encode(m)
	if err != nil {
		return err
	}
	c.Lock()
	if c.EndedLocked() {
		c.Unlock()
		rest.Free()
		return endError(c.EndError())
	}
	c.headLocked()
	if c.SendLocked(s.out.B, s.out) || cap(s.out.B) > 4*http2.CopyBytesMax {
		s.out = nil
	}
	c.SendPiecesLocked(rest)
	return nil
}

// encode encodes m into s.out, and returns the pieces that follow.
func (s *serverStream) encode(m any) (http2.Pieces, error) {
	if s.out == nil {
		s.out = http2.NewBuffer(512)
	}
	rest, bad := s.call.encode(&s.out, m)
	if bad != nil {
		return rest, bad.Err()
	}
	return rest, nil
}

// endError returns the status of a stream that ended because of err.
func endError(err error) error {
	switch {
	case errors.Is(err, http2.ErrServerStopped):
		return status.Error(codes.Unavailable, "transport is closing")
	case errors.Is(err, budget.ErrExhausted):
		return statusTooMany.Err()
	}
	return status.FromContextError(err).Err()
}

// RecvMsg implements grpc.ServerStream. It returns io.EOF once the client has ended its side.
func (s *serverStream) RecvMsg(m any) error {
	if err := s.recv(m); err != nil {
		if errors.Is(err, io.EOF) && !s.desc.ClientStreams && !s.received {
			return statusNoMessage.Err()
		}
		return err
	}
	s.received = true
	if s.desc.ClientStreams {
		return nil
	}
	switch extra, err := s.next(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	default:
		extra.Buf.Free()
		return statusManyMessages.Err()
	}
}

// RecvBuffered receives a message into m if one has arrived already, and reports whether it has. A
// message that cannot be received is left to the next RecvMsg, and so is the end of the stream.
func (s *serverStream) RecvBuffered(m any) bool {
	if !s.desc.ClientStreams {
		return false
	}
	got, ok := s.call.NextNow(func(next http2.Received) bool { return !next.Flag && unmarshal(next.Buf.B, m) == nil })
	if !ok {
		return false
	}
	s.call.Credit(len(got.Buf.B) + messagePrefixLen)
	if !keepsBytes(m) {
		got.Buf.Free()
	}
	return true
}

// next returns the next message; the caller must free its buffer.
func (s *serverStream) next() (http2.Received, error) {
	got, err := s.call.Next()
	switch {
	case err == nil:
		s.call.Credit(len(got.Buf.B) + messagePrefixLen)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		err = status.FromContextError(err).Err()
	}
	return got, err
}

func (s *serverStream) recv(m any) error {
	got, err := s.next()
	if err != nil {
		return err
	}
	if got.Flag {
		plain, bad := s.call.inflate(got.Buf)
		got.Buf.Free()
		if bad != nil {
			return bad.Err()
		}
		got.Buf = plain
	}
	if keepsBytes(m) {
		// The handler may refer to the bytes until it returns, so leave them to the garbage
		// collector.
		return unmarshal(got.Buf.B, m)
	}
	err = unmarshal(got.Buf.B, m)
	got.Buf.Free()
	return err
}
