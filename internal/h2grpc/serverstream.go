package h2grpc

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// serverStream is a streaming call as its handler sees it. SendMsg and RecvMsg may be used
// by one goroutine each at the same time, as gRPC demands.
type serverStream struct {
	st       *stream
	desc     *grpc.StreamDesc
	received bool
	out      *buffer
}

var _ grpc.ServerStream = (*serverStream)(nil)

func (st *stream) serveStream() {
	m := st.head.method
	ss := &serverStream{st: st, desc: m.stream}
	var err error
	if in := st.conn.srv.opts.StreamInterceptor; in != nil {
		err = in(m.impl, ss, m.info, m.stream.Handler)
	} else {
		err = m.stream.Handler(m.impl, ss)
	}
	s := statusOK
	if err != nil {
		s = statusOf(err)
	}
	c := st.conn
	c.mu.Lock()
	st.handlerDoneLocked()
	c.finishLocked(st, s)
	c.flushLocked(true)
	st.freeQueue()
}

// freeQueue drops messages that the handler did not want.
func (st *stream) freeQueue() {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, m := range st.queue {
		m.buf.free()
	}
	st.queue = nil
}

// Context implements grpc.ServerStream.
func (s *serverStream) Context() context.Context { return &s.st.ctx }

// SetHeader implements grpc.ServerStream.
func (s *serverStream) SetHeader(md metadata.MD) error { return s.st.setHeader(md) }

// SendHeader implements grpc.ServerStream.
func (s *serverStream) SendHeader(md metadata.MD) error { return s.st.sendHeader(md) }

// SetTrailer implements grpc.ServerStream.
func (s *serverStream) SetTrailer(md metadata.MD) { s.st.setTrailer(md) }

// SendMsg encodes m and sends or queues it. It waits while more than streamQueueMax bytes of
// the stream, or MaxConnSendBytes of the connection, are queued: that is how a slow client
// slows the handler that feeds it, and nobody else. m may be changed afterwards.
func (s *serverStream) SendMsg(m any) error {
	st, c := s.st, s.st.conn
	if err := st.waitQueue(); err != nil {
		return err
	}
	if s.out == nil {
		s.out = newBuffer(512)
	}
	rest, e := st.encode(&s.out, m)
	if e != nil {
		return e.Err()
	}
	c.mu.Lock()
	if st.gone {
		c.mu.Unlock()
		rest.free()
		return st.goneError()
	}
	c.headLocked(st)
	if c.sendLocked(st, s.out.b, s.out) || cap(s.out.b) > scratchBytesMax {
		s.out = nil
	}
	c.sendPiecesLocked(st, rest)
	c.flushLocked(true)
	return nil
}

// waitQueue waits until the stream may queue more; large messages also wait for the
// connection's budget, when they are encoded.
func (st *stream) waitQueue() error {
	c := st.conn
	for {
		c.mu.Lock()
		gone, full := st.gone, st.outBytes > streamQueueMax
		c.mu.Unlock()
		if gone {
			return st.goneError()
		}
		if !full {
			return nil
		}
		select {
		case <-st.sendWake:
		case <-st.ctx.Done():
			return status.FromContextError(st.ctx.Err()).Err()
		}
	}
}

// RecvMsg implements grpc.ServerStream. It returns io.EOF when the client has sent all.
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
	switch extra, err := s.st.next(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	default:
		extra.buf.free()
		return statusManyMessages.Err()
	}
}

func (s *serverStream) recv(m any) error {
	got, err := s.st.next()
	if err != nil {
		return err
	}
	// Freed only after the decoding; WireUnmarshaler's promise is kept by copying below.
	if got.gzip {
		plain, bad := gunzip(got.buf, s.st.conn.srv.opts.MaxRecvBytes)
		got.buf.free()
		if bad != nil {
			return bad.Err()
		}
		got.buf = plain
	}
	if _, keeps := m.(WireUnmarshaler); keeps {
		// The handler may refer to the bytes until it returns: leave them to the collector.
		return unmarshal(got.buf.b, m)
	}
	err = unmarshal(got.buf.b, m)
	got.buf.free()
	return err
}
