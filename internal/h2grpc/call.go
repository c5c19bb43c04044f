package h2grpc

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
)

var (
	statusOK           = status.New(codes.OK, "")
	statusCutShort     = status.New(codes.Internal, "unexpected EOF")
	statusNoMessage    = status.New(codes.Internal, "cardinality violation: received no request message from non-client-streaming RPC")
	statusManyMessages = status.New(codes.Internal, "cardinality violation: received multiple request messages for non-client-streaming RPC")
)

// WireAppender is an answer that encodes itself. AppendWire appends the message's protobuf
// encoding to b and returns the extended slice; it must not keep b. It is called once for each
// answer that a handler returns, even when the client has gone, so it may end the answer's life.
type WireAppender interface {
	AppendWire(b []byte) ([]byte, error)
}

// WireSizer is implemented beside WireAppender by answers that can be large: SizeWire returns
// the encoding's length or an estimate of it. The buffer is then made once, and made only
// when the connection's budget (Options.MaxConnSendBytes) has room for it.
type WireSizer interface{ SizeWire() int }

// WirePieces is implemented beside WireAppender by answers that can be too long to be held
// twice. WirePieces returns the encoding in pieces, none of them empty, which are sent from where
// they are; or no pieces when the answer is short: then AppendWire is called. A piece is the
// transport's until it is given to done, on whatever goroutine; one that may still be on its way
// to the socket when the call ends is never given back.
type WirePieces interface {
	WirePieces() (pieces [][]byte, done func(piece []byte))
}

// WireUnmarshaler is a request that decodes itself. UnmarshalWire may keep references into b
// only while the call's handler runs: b is reused afterwards.
type WireUnmarshaler interface {
	UnmarshalWire(b []byte) error
}

// dispatch hands a complete unary call to a worker, or returns it when it is to be run on
// the reader.
func (c *conn) dispatch(st *stream) (inline *stream) {
	c.mu.Lock()
	if st.gone {
		c.mu.Unlock()
		return nil
	}
	st.running = true
	c.mu.Unlock()
	c.running.Add(1)
	in := c.srv.opts.Inline
	if in != nil && !st.requestGzip && in(st.head.method.fullName, st.request.b) {
		st.inline.Store(inlineReading)
		return st
	}
	c.srv.workers.run(job{st: st})
	return nil
}

// serve runs the call's handler and answers. It is a worker's job.
func (st *stream) serve(w *worker) {
	switch st.kind {
	case kindUnary:
		st.serveUnary(w)
	case kindStream:
		st.serveStream()
	case kindHTTP:
		st.serveHTTP()
	}
}

// serveUnary reports whether the caller still holds the connection's reading, if it ever did.
func (st *stream) serveUnary(w *worker) (reading bool) {
	m := st.head.method
	c := st.conn
	w.cur = st
	reply, err := m.unary.Handler(m.impl, &st.ctx, w.dec, c.srv.opts.UnaryInterceptor)
	w.cur = nil
	var s *status.Status
	var out *buffer
	var rest pieces
	if err != nil {
		s = statusOf(err)
	} else {
		out = w.scratch
		if rest, s = st.encode(&out, reply); s == nil {
			s = statusOK
		}
		w.scratch = out
	}
	// The request's bytes may be referred to by the reply until here.
	if st.request != nil {
		st.request.free()
		st.request = nil
	}
	c.running.Add(-1)
	c.mu.Lock()
	st.handlerDoneLocked()
	if s == statusOK && !st.gone {
		c.headLocked(st)
		if c.sendLocked(st, out.b, out) {
			w.scratch = newBuffer(copyBytesMax)
		}
		c.sendPiecesLocked(st, rest)
	} else {
		rest.free()
	}
	c.finishLocked(st, s)
	w.keepScratch()
	if st.inline.CompareAndSwap(inlineReading, inlineDone) {
		c.in.wrote = true
		c.mu.Unlock()
		return true
	}
	c.flushLocked(true)
	return false
}

// handlerDoneLocked notes that the handler has returned; its context ends with it.
func (st *stream) handlerDoneLocked() {
	st.running = false
	if st.gone {
		st.conn.orphans--
	}
	st.ctx.cancel(context.Canceled)
}

// decodeRequest is what generated handlers decode the unary request with.
func (st *stream) decodeRequest(v any) error {
	if st.requestGzip {
		plain, s := gunzip(st.request, st.conn.srv.opts.MaxRecvBytes)
		if s != nil {
			return s.Err()
		}
		st.request.free()
		st.request, st.requestGzip = plain, false
	}
	return unmarshal(st.request.b, v)
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

// pieces are what follows the first buffer of a long message.
type pieces struct {
	list [][]byte
	done func(piece []byte)
}

func (p pieces) free() {
	for _, piece := range p.list {
		p.done(piece)
	}
}

// encode replaces *out by a buffer that holds the length-prefixed encoding of v, or its
// beginning and returns the rest; the buffer that was there is reused or freed.
func (st *stream) encode(out **buffer, v any) (pieces, *status.Status) {
	var err error
	if m, ok := v.(WirePieces); ok && !st.gzipReply {
		if list, done := m.WirePieces(); len(list) > 0 {
			return st.encodePieces(out, pieces{list, done})
		}
	}
	switch m := v.(type) {
	case WireAppender:
		n := 0
		if s, ok := v.(WireSizer); ok {
			n = s.SizeWire()
		}
		b := st.reserve(out, n)
		b.b, err = m.AppendWire(b.b)
	case proto.Message:
		err = st.appendProto(out, m)
	case protoadapt.MessageV1:
		err = st.appendProto(out, protoadapt.MessageV2Of(m))
	default:
		err = fmt.Errorf("%T is no protobuf message", v)
	}
	if err != nil {
		return pieces{}, status.Newf(codes.Internal, "grpc: error while marshaling: %v", err)
	}
	b := *out
	n := len(b.b) - messagePrefixLen
	if s := st.checkSendBytes(n); s != nil {
		return pieces{}, s
	}
	if st.gzipReply && len(b.b) >= gzipReplyMin {
		return pieces{}, gzipMessage(out)
	}
	b.b[0] = 0
	binary.BigEndian.PutUint32(b.b[1:], uint32(n))
	return pieces{}, nil
}

// encodePieces makes *out the prefix of a message in pieces. As every long answer it waits
// while the connection has enough queued already.
func (st *stream) encodePieces(out **buffer, p pieces) (pieces, *status.Status) {
	n := 0
	for _, piece := range p.list {
		n += len(piece)
	}
	if s := st.checkSendBytes(n); s != nil {
		p.free()
		return pieces{}, s
	}
	b := st.reserve(out, 0)
	if n > streamQueueMax {
		st.conn.waitRoom(st, n)
	}
	binary.BigEndian.PutUint32(b.b[1:], uint32(n))
	return p, nil
}

func (st *stream) checkSendBytes(n int) *status.Status {
	if limit := st.conn.srv.opts.MaxSendBytes; n > limit {
		return status.Newf(codes.ResourceExhausted, "trying to send message larger than max (%d vs. %d)", n, limit)
	}
	return nil
}

// reserve makes *out an empty buffer with room for n bytes after the prefix. It waits when
// that is a lot and the connection has enough queued already.
func (st *stream) reserve(out **buffer, n int) *buffer {
	if n > streamQueueMax {
		st.conn.waitRoom(st, n)
	}
	b := *out
	if cap(b.b) < n+messagePrefixLen {
		b.free()
		b = newBuffer(n + messagePrefixLen)
		*out = b
	}
	b.b = append(b.b[:0], 0, 0, 0, 0, 0)
	return b
}

func (st *stream) appendProto(out **buffer, m proto.Message) error {
	opts := proto.MarshalOptions{}
	b := st.reserve(out, opts.Size(m))
	opts.UseCachedSize = true
	var err error
	b.b, err = opts.MarshalAppend(b.b, m)
	return err
}

// statusOf turns a handler's error into a status, context errors into their codes.
func statusOf(err error) *status.Status {
	s, ok := status.FromError(err)
	if !ok {
		s = status.FromContextError(err)
	}
	if s.Code() == codes.OK {
		// An error that says OK would be an answer without a message.
		s = status.New(codes.Unknown, err.Error())
	}
	return s
}

// unknownMethod says, in grpc-go's words, what of path is not known.
func unknownMethod(s *Server, path string) *status.Status {
	name, ok := strings.CutPrefix(path, "/")
	slash := strings.LastIndexByte(name, '/')
	if !ok || slash < 0 {
		return status.Newf(codes.Unimplemented, "malformed method name: %q", path)
	}
	if _, known := s.services[name[:slash]]; !known {
		return status.Newf(codes.Unimplemented, "unknown service %v", name[:slash])
	}
	return status.Newf(codes.Unimplemented, "unknown method %v for service %v", name[slash+1:], name[:slash])
}

// transportStream is what grpc.SetHeader and its sisters find in the context.
type transportStream struct{ *stream }

// Method returns the call's full name.
func (t transportStream) Method() string { return t.head.path }

// SetHeader adds to the header metadata, which goes out with the first message.
func (t transportStream) SetHeader(md metadata.MD) error { return t.setHeader(md) }

// SendHeader sends the header metadata now.
func (t transportStream) SendHeader(md metadata.MD) error { return t.sendHeader(md) }

// SetTrailer adds to the trailer metadata.
func (t transportStream) SetTrailer(md metadata.MD) error {
	t.setTrailer(md)
	return nil
}

func (st *stream) setHeader(md metadata.MD) error {
	if len(md) == 0 {
		return nil
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.headSent {
		return status.Error(codes.Internal, "transport: the stream is done or WriteHeader was already called")
	}
	st.header = metadata.Join(st.header, md)
	return nil
}

func (st *stream) sendHeader(md metadata.MD) error {
	if err := st.setHeader(md); err != nil {
		return err
	}
	c := st.conn
	c.mu.Lock()
	st.mu.Lock()
	sent := st.headSent
	st.mu.Unlock()
	if sent {
		c.mu.Unlock()
		return status.Error(codes.Internal, "transport: the stream is done or WriteHeader was already called")
	}
	if st.gone {
		c.mu.Unlock()
		return st.goneError()
	}
	c.headLocked(st)
	c.flushLocked(false)
	return nil
}

func (st *stream) setTrailer(md metadata.MD) {
	if len(md) == 0 {
		return
	}
	st.mu.Lock()
	st.trailer = metadata.Join(st.trailer, md)
	st.mu.Unlock()
}

// goneError is what a call gets that writes to a stream which no longer exists.
func (st *stream) goneError() error {
	if err := st.ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	return status.Error(codes.Unavailable, "transport is closing")
}
