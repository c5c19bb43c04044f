package h2grpc

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// gzipReplyMin is the size from which an answer to a client that compresses is compressed:
// below it gzip's header eats what it saves.
const gzipReplyMin = 1 << 10

var (
	gzipReaders sync.Pool
	gzipWriters sync.Pool
)

// setEncoding reads the request's grpc-encoding. Answers use the encoding of the request, as
// grpc-go's server does.
func (st *stream) setEncoding() *status.Status {
	switch e := st.head.encoding; e {
	case "", "identity":
		return nil
	case "gzip":
		st.gzip, st.gzipReply = true, true
		return nil
	default:
		return status.Newf(codes.Unimplemented, "grpc: Decompressor is not installed for grpc-encoding %q", e)
	}
}

// gunzip decompresses a message into a new buffer of at most limit bytes.
func gunzip(in *buffer, limit int) (*buffer, *status.Status) {
	bad := func(err error) (*buffer, *status.Status) {
		return nil, status.Newf(codes.Internal, "grpc: failed to decompress the received message: %v", err)
	}
	src := bytes.NewReader(in.b)
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
	out := newBuffer(min(4*len(in.b), limit+1))
	for {
		out = out.grow(1)
		n, err := z.Read(out.b[len(out.b):cap(out.b)])
		out.b = out.b[:len(out.b)+n]
		if len(out.b) > limit {
			n := len(out.b)
			out.free()
			return nil, status.Newf(codes.ResourceExhausted, "grpc: message after decompression larger than max (%d vs. %d)", n, limit)
		}
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			out.free()
			return bad(err)
		}
	}
}

// gzipMessage replaces *out, a message after its prefix, by its compressed form.
func gzipMessage(out **buffer) *status.Status {
	plain := *out
	packed := newBuffer(len(plain.b))
	packed.b = append(packed.b[:0], 1, 0, 0, 0, 0)
	z, _ := gzipWriters.Get().(*gzip.Writer)
	sink := &bufferWriter{packed}
	if z == nil {
		z, _ = gzip.NewWriterLevel(sink, gzip.BestSpeed)
	} else {
		z.Reset(sink)
	}
	defer gzipWriters.Put(z)
	if _, err := z.Write(plain.b[messagePrefixLen:]); err != nil {
		return status.Newf(codes.Internal, "grpc: error while compressing: %v", err)
	}
	if err := z.Close(); err != nil {
		return status.Newf(codes.Internal, "grpc: error while compressing: %v", err)
	}
	binary.BigEndian.PutUint32(packed.b[1:], uint32(len(packed.b)-messagePrefixLen))
	plain.free()
	*out = packed
	return nil
}

type bufferWriter struct{ *buffer }

func (w *bufferWriter) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}
