package grpcclient

import (
	"context"
	"encoding/binary"
	"io"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// StreamHandler gets what a stream receives. Its methods are called one after the other.
type StreamHandler interface {
	// Received is called on the goroutine that reads the connection, so it must not wait for the
	// network. The message is valid until it returns.
	Received(message []byte)
	// Ended is called once, after the last message, on another goroutine. The error is io.EOF when
	// the member has ended the stream without one.
	Ended(err error)
}

// Stream is a call with streams in both directions at one member. It is not repeated.
type Stream struct {
	conn    *conn
	call    *call
	handler StreamHandler
	partial []byte // of a message, with its prefix; it belongs to the reader

	delivery sync.Mutex // held while a method of handler runs
	ended    bool       // guarded by delivery
}

// Open starts a stream at the next member. It waits for a connection as calls do. ctx has the
// metadata, and does not end the stream.
func (c *Client) Open(ctx context.Context, method string, h StreamHandler) (*Stream, error) {
	conn, err := c.pick(ctx)
	if err != nil {
		return nil, err
	}
	call := newCall(nil)
	s := &Stream{conn: conn, call: call, handler: h}
	call.stream = s
	md, _ := metadata.FromOutgoingContext(ctx)
	if err := conn.begin(context.WithoutCancel(ctx), call, method, md); err != nil {
		return nil, err
	}
	return s, nil
}

// Send sends a message. It does not wait for the network: another goroutine writes. It returns an
// error if the message cannot be encoded. Only the handler is told that the stream has ended.
func (s *Stream) Send(m proto.Message) error {
	b, err := encode(m)
	if err != nil {
		return err
	}
	n := s.conn
	n.mu.Lock()
	if n.calls[s.call.id] != s.call {
		n.mu.Unlock()
		return nil
	}
	s.call.rest = append(s.call.rest, b...)
	n.dataLocked(s.call)
	n.mu.Unlock()
	go n.flush()
	return nil
}

// Close ends the stream without waiting for it; Ended is called unless it has been.
func (s *Stream) Close() {
	go s.conn.cancel(s.call, &Error{status.New(codes.Canceled, "context canceled"), false})
}

// receive passes the messages of DATA to the handler. One that is complete in a frame is not
// copied.
func (s *Stream) receive(p []byte, limit int) *Error {
	for len(p) > 0 {
		from := p
		if len(s.partial) > 0 {
			k := min(missing(s.partial), len(p))
			s.partial = append(s.partial, p[:k]...)
			p, from = p[k:], s.partial
		}
		if len(from) >= prefixLen {
			if err := checkPrefix(from, limit); err != nil {
				return err
			}
		}
		switch {
		case missing(from) <= 0 && len(s.partial) > 0:
			s.deliver(from[prefixLen:])
			s.partial = nil
		case missing(from) <= 0:
			n := prefixLen + int(binary.BigEndian.Uint32(from[1:]))
			s.deliver(from[prefixLen:n])
			p = p[n:]
		case len(s.partial) == 0:
			s.partial = append(s.partial, p...)
			return nil
		}
	}
	return nil
}

// missing returns how many bytes a message lacks: if it lacks a part of the prefix, the number of
// these.
func missing(b []byte) int {
	if len(b) < prefixLen {
		return prefixLen - len(b)
	}
	return prefixLen + int(binary.BigEndian.Uint32(b[1:])) - len(b)
}

func (s *Stream) deliver(message []byte) {
	s.delivery.Lock()
	defer s.delivery.Unlock()
	if !s.ended {
		s.handler.Received(message)
	}
}

// end tells the handler. It may be called by a method of the handler.
func (s *Stream) end(reason *Error) {
	go func() {
		s.delivery.Lock()
		defer s.delivery.Unlock()
		s.ended = true
		if reason.status.Code() == codes.OK {
			s.handler.Ended(io.EOF)
			return
		}
		s.handler.Ended(reason)
	}()
}
