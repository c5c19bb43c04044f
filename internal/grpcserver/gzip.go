package grpcserver

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cairn/internal/http2"
)

// gzipReplyMin is the minimum size of a response that is compressed for a client that compresses:
// below it gzip's header costs more than compression saves.
const gzipReplyMin = 1 << 10

var (
	gzipReaders sync.Pool
	gzipWriters sync.Pool
)

// setEncoding reads the request's grpc-encoding. Responses use the encoding of the request, as with
// grpc-go's server.
func (c *call) setEncoding() *status.Status {
	switch e := c.head.encoding; e {
	case "", "identity":
		return nil
	case "gzip":
		c.gzip, c.gzipReply = true, true
		return nil
	default:
		return status.Newf(codes.Unimplemented, "grpc: Decompressor is not installed for grpc-encoding %q", e)
	}
}

// inflate decompresses a message. At most half of the processors do so at a time, and the
// decompressed bytes count as part of the request.
func (c *call) inflate(in *http2.Buffer) (*http2.Buffer, *status.Status) {
	select {
	case c.c.srv.inflating <- struct{}{}:
	default:
		select {
		case c.c.srv.inflating <- struct{}{}:
		case <-c.Context().Done():
			return nil, status.FromContextError(c.Context().Err())
		}
	}
	out, s := gunzip(in, c.c.srv.opts.MaxRecvBytes)
	<-c.c.srv.inflating
	if s != nil {
		return nil, s
	}
	if !c.Hold(cap(out.B)) {
		out.Free()
		return nil, statusTooMany
	}
	return out, nil
}

// gunzip decompresses a message into a new buffer of at most limit bytes.
func gunzip(in *http2.Buffer, limit int) (*http2.Buffer, *status.Status) {
	bad := func(err error) (*http2.Buffer, *status.Status) {
		return nil, status.Newf(codes.Internal, "grpc: failed to decompress the received message: %v", err)
	}
	src := bytes.NewReader(in.B)
	z, _ := gzipReaders.Get().(*gzip.Reader)
	var err error
	if z == nil {
		z, err = gzip.NewReader(src)
	} else {
		err = z.Reset(src)
	}
	if err != nil {
		return bad(err)
	}
	defer gzipReaders.Put(z)
	out := http2.NewBuffer(min(4*len(in.B), limit+1))
	for {
		out = out.Grow(1, limit+1-len(out.B))
		n, err := z.Read(out.B[len(out.B):cap(out.B)])
		out.B = out.B[:len(out.B)+n]
		if len(out.B) > limit {
			n := len(out.B)
			out.Free()
			return nil, status.Newf(codes.ResourceExhausted, "grpc: message after decompression larger than max (%d vs. %d)", n, limit)
		}
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			out.Free()
			return bad(err)
		}
	}
}

// gzipMessage replaces *out, a message after its prefix, by its compressed form.
func gzipMessage(out **http2.Buffer) *status.Status {
	plain := *out
	packed := http2.NewBuffer(len(plain.B))
	packed.B = append(packed.B[:0], 1, 0, 0, 0, 0)
	z, _ := gzipWriters.Get().(*gzip.Writer)
	sink := &bufferWriter{packed}
	if z == nil {
		z, _ = gzip.NewWriterLevel(sink, gzip.BestSpeed)
	} else {
		z.Reset(sink)
	}
	defer gzipWriters.Put(z)
	if _, err := z.Write(plain.B[messagePrefixLen:]); err != nil {
		return status.Newf(codes.Internal, "grpc: error while compressing: %v", err)
	}
	if err := z.Close(); err != nil {
		return status.Newf(codes.Internal, "grpc: error while compressing: %v", err)
	}
	binary.BigEndian.PutUint32(packed.B[1:], uint32(len(packed.B)-messagePrefixLen))
	plain.Free()
	*out = packed
	return nil
}

// bufferWriter makes a Buffer an io.Writer.
type bufferWriter struct{ *http2.Buffer }

func (w *bufferWriter) Write(p []byte) (int, error) {
	w.B = append(w.B, p...)
	return len(p), nil
}
