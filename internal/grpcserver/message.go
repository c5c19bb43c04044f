package grpcserver

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"

	"cairn/internal/http2"
)

// WireAppender is a response that encodes itself. AppendWire appends the message's protobuf
// encoding to b and returns the extended slice; it must not retain b. It is called once for each
// response that a handler returns, even when the client has disconnected, so it may release the
// response's resources.
type WireAppender interface {
	AppendWire(b []byte) ([]byte, error)
}

// WireSizer is implemented together with WireAppender by responses that can be large: SizeWire
// returns the encoding's length or an estimate of it. The buffer is then allocated once, and only
// when the connection has memory for it.
type WireSizer interface{ SizeWire() int }

// WireCharged is implemented beside WireSizer by responses for which memory has been taken from the
// connection's account already. TakeCharge returns how much, and leaves it to the server to give it
// back when the encoding has been sent; http2.NotTaken if nothing has been taken.
type WireCharged interface{ TakeCharge(size int) int64 }

// WirePieces is implemented together with WireAppender by responses that can be too long to be held
// twice. WirePieces returns the encoding in non-empty pieces, which are sent without a copy; or no
// pieces when the response is short: then AppendWire is called. A piece belongs to the server until
// it is passed to done, on any goroutine. A piece that is still being written to the socket when
// the call ends is never passed to done.
type WirePieces interface {
	WirePieces() (pieces [][]byte, done func(piece []byte))
}

// WireUnmarshaler is a request that decodes itself. UnmarshalWire may keep references into b only
// while the call's handler runs: b is reused afterwards.
type WireUnmarshaler interface {
	UnmarshalWire(b []byte) error
}

// WireCopier is implemented beside WireUnmarshaler by requests that keep no references into the
// bytes: a stream can use these for its next message.
type WireCopier interface{ KeepsNothing() }

// keepsBytes reports whether a message may refer to the bytes that it was decoded from.
func keepsBytes(m any) bool {
	if _, wire := m.(WireUnmarshaler); !wire {
		return false
	}
	_, copies := m.(WireCopier)
	return !copies
}

func unmarshal(b []byte, v any) error {
	var err error
	switch m := v.(type) {
	case WireUnmarshaler:
		err = m.UnmarshalWire(b)
	case proto.Message:
		err = proto.Unmarshal(b, m)
	case protoadapt.MessageV1:
		err = proto.Unmarshal(b, protoadapt.MessageV2Of(m))
	default:
		err = fmt.Errorf("%T is no protobuf message", v)
	}
	if err != nil {
		return status.Errorf(codes.Internal, "grpc: failed to unmarshal the received message: %v", err)
	}
	return nil
}

// encode replaces *out by a buffer that holds the length-prefixed encoding of v, or its beginning,
// and returns the rest. The buffer that was in *out is reused or freed.
func (c *call) encode(out **http2.Buffer, v any) (http2.Pieces, *status.Status) {
	var err error
	if m, ok := v.(WirePieces); ok && !c.gzipReply {
		if list, done := m.WirePieces(); len(list) > 0 {
			return c.encodePieces(out, http2.Pieces{List: list, Release: done})
		}
	}
	switch m := v.(type) {
	case WireAppender:
		n := 0
		if s, ok := v.(WireSizer); ok {
			n = s.SizeWire()
		}
		share := int64(http2.NotTaken)
		if charged, ok := v.(WireCharged); ok && n > http2.CopyBytesMax {
			share = charged.TakeCharge(n)
		}
		b, bad := c.reserve(out, n, share)
		// also without memory, since it may release the response's resources
		b.B, err = m.AppendWire(b.B)
		if bad != nil {
			return http2.Pieces{}, bad
		}
	case proto.Message:
		if bad := c.appendProto(out, m); bad != nil {
			return http2.Pieces{}, bad
		}
	case protoadapt.MessageV1:
		if bad := c.appendProto(out, protoadapt.MessageV2Of(m)); bad != nil {
			return http2.Pieces{}, bad
		}
	default:
		err = fmt.Errorf("%T is no protobuf message", v)
	}
	if err != nil {
		return http2.Pieces{}, status.Newf(codes.Internal, "grpc: error while marshaling: %v", err)
	}
	b := *out
	n := len(b.B) - messagePrefixLen
	if s := c.checkSendBytes(n); s != nil {
		return http2.Pieces{}, s
	}
	if c.gzipReply && len(b.B) >= gzipReplyMin {
		return http2.Pieces{}, gzipMessage(out)
	}
	b.B[0] = 0
	binary.BigEndian.PutUint32(b.B[1:], uint32(n))
	return http2.Pieces{}, nil
}

// encodePieces makes *out the prefix of a message in pieces. Like every long response it waits
// while the connection has a full queue.
func (c *call) encodePieces(out **http2.Buffer, p http2.Pieces) (http2.Pieces, *status.Status) {
	n := 0
	for _, piece := range p.List {
		n += len(piece)
	}
	if s := c.checkSendBytes(n); s != nil {
		p.Free()
		return http2.Pieces{}, s
	}
	if err := c.WaitRoom(n, 0); err != nil { // the pieces have their shares
		p.Free()
		return http2.Pieces{}, statusOf(endError(err))
	}
	b := emptyMessage(out, 0)
	binary.BigEndian.PutUint32(b.B[1:], uint32(n))
	return p, nil
}

func (c *call) checkSendBytes(n int) *status.Status {
	if limit := c.c.srv.sendBytes; n > limit {
		return status.Newf(codes.ResourceExhausted, "trying to send message larger than max (%d vs. %d)", n, limit)
	}
	return nil
}

// reserve makes *out an empty buffer with room for n bytes after the prefix. When that is a lot it
// waits for room (see http2.Stream.WaitRoom); without it the buffer is small and the status says
// why.
func (c *call) reserve(out **http2.Buffer, n int, share int64) (*http2.Buffer, *status.Status) {
	if n > http2.CopyBytesMax {
		if err := c.WaitRoom(n, share); err != nil {
			return emptyMessage(out, 0), statusOf(endError(err))
		}
	}
	return emptyMessage(out, n), nil
}

// emptyMessage makes *out an empty buffer for n bytes after the prefix.
func emptyMessage(out **http2.Buffer, n int) *http2.Buffer {
	b := *out
	if cap(b.B) < n+messagePrefixLen {
		b.Free()
		b = http2.NewBuffer(n + messagePrefixLen)
		*out = b
	}
	b.B = append(b.B[:0], 0, 0, 0, 0, 0)
	return b
}

func (c *call) appendProto(out **http2.Buffer, m proto.Message) *status.Status {
	opts := proto.MarshalOptions{}
	b, bad := c.reserve(out, opts.Size(m), http2.NotTaken)
	if bad != nil {
		return bad
	}
	opts.UseCachedSize = true
	var err error
	if b.B, err = opts.MarshalAppend(b.B, m); err != nil {
		return status.Newf(codes.Internal, "grpc: error while marshaling: %v", err)
	}
	return nil
}
