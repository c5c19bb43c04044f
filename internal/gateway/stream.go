package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"cairn/internal/budget"
)

// stream is a streaming call as its handler sees it: it receives messages from the request's body,
// one JSON value per message, and sends messages in the response, one line per message. The handler
// runs on the request's goroutine, so nothing is queued in between, and a client that does not read
// blocks the handler.
type stream struct {
	ctx  context.Context
	hold *budget.Hold
	to   *route
	body *meteredBody
	dec  runtime.Decoder
	// charged is what dec reads.
	charged *chargedReader

	bytesMax int
	received bool
	badInput atomic.Pointer[status.Status] // the error that ended the requests

	mu     sync.Mutex // guards the fields below and the response; any goroutine may call SetHeader
	w      http.ResponseWriter
	header metadata.MD
	begun  bool
}

// bodyAtOnceBytes is the maximum length of a body that is read before the call begins.
const bodyAtOnceBytes = 64 << 10

func (g *Gateway) serveStream(ctx context.Context, w http.ResponseWriter, r *http.Request, to *route) {
	body := &meteredBody{body: r.Body, max: g.bodyBytesMax()}
	release := func() {}
	switch {
	case 0 <= r.ContentLength && r.ContentLength <= bodyAtOnceBytes:
		text, err := io.ReadAll(r.Body)
		if err != nil {
			writeError(w, statusOf(invalid(err)))
			return
		}
		body.body = bytes.NewReader(text)
	default:
		release = duplex(w)
	}
	ctx, hold := budget.WithHold(ctx, 1)
	defer hold.Close()
	charged := &chargedReader{body: body, hold: hold}
	s := &stream{
		ctx: ctx, hold: hold, to: to, w: w, body: body, charged: charged,
		dec: codec.NewDecoder(charged), bytesMax: g.opts.MessageBytesMax,
	}
	err := to.call.stream.Handler(to.call.impl, s)
	release()
	s.finish(err)
}

// duplex allows a response to begin before the end of the request's body, which HTTP/1 has to
// enable; HTTP/2 always allows it. The connection is closed after such a response, since its body
// may have no end. The caller must call release when the handler has returned: otherwise a
// goroutine of the handler that still reads the body would keep the response from ending.
func duplex(w http.ResponseWriter) (release func()) {
	control := http.NewResponseController(w)
	if control.EnableFullDuplex() != nil {
		return func() {}
	}
	w.Header().Set("Connection", "close")
	return func() { _ = control.SetReadDeadline(time.Now()) }
}

// finish ends the response, and begins it if the handler has not.
func (s *stream) finish(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch bad := s.badInput.Load(); {
	case err == nil && s.begun:
		return
	case bad != nil && !s.begun:
		writeError(s.w, bad)
		return
	case err == nil:
		s.beginLocked(http.StatusOK)
		return
	}
	st := statusOf(err)
	if bad := s.badInput.Load(); bad != nil {
		st = bad
	}
	s.beginLocked(runtime.HTTPStatusFromCode(st.Code()))
	_, _ = s.w.Write(streamErrorText(st)) // the client may have disconnected
}

func (s *stream) beginLocked(code int) {
	if s.begun {
		return
	}
	s.begun = true
	writeMetadata(s.w, s.header)
	s.w.Header().Set("Content-Type", contentType)
	s.w.WriteHeader(code)
}

// Context implements grpc.ServerStream.
func (s *stream) Context() context.Context { return s.ctx }

// SetHeader implements grpc.ServerStream.
func (s *stream) SetHeader(md metadata.MD) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun {
		return status.Error(codes.Internal, "transport: the stream is done or WriteHeader was already called")
	}
	s.header = metadata.Join(s.header, md)
	return nil
}

// SendHeader implements grpc.ServerStream. The header is sent with the first message, as in etcd's
// gateway.
func (s *stream) SendHeader(md metadata.MD) error { return s.SetHeader(md) }

// SetTrailer implements grpc.ServerStream. JSON responses have no trailers.
func (s *stream) SetTrailer(metadata.MD) {}

// SendMsg implements grpc.ServerStream.
func (s *stream) SendMsg(m any) error {
	out, err := published(m, s.to.output)
	if err != nil {
		return err
	}
	taken, err := takeSend(s.ctx, proto.Size(out))
	if err != nil {
		return statusOf(err).Err()
	}
	defer func() {
		budget.FromContext(s.ctx).Give(taken)
		s.hold.GiveResponses()
	}()
	line, err := resultLine(out)
	if err != nil {
		return status.Errorf(codes.Internal, "encode answer: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beginLocked(http.StatusOK)
	if _, err = s.w.Write(line); err == nil {
		err = http.NewResponseController(s.w).Flush()
	}
	if err != nil {
		return status.Errorf(codes.Unavailable, "send answer: %v", err)
	}
	return nil
}

// resultLine returns a message as a line of the response.
func resultLine(out proto.Message) ([]byte, error) {
	text, err := marshalJSON(out)
	if err != nil {
		return nil, err
	}
	line := make([]byte, 0, len(text)+len(`{"result":}`)+1)
	return append(append(append(line, `{"result":`...), text...), '}', '\n'), nil
}

// RecvMsg implements grpc.ServerStream.
func (s *stream) RecvMsg(v any) error {
	in := s.to.input.New().Interface()
	s.body.begin()
	err := s.dec.Decode(in)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF) && !s.to.call.stream.ClientStreams && !s.received: // a request without fields
	case errors.Is(err, io.EOF):
		return io.EOF
	case s.ctx.Err() != nil:
		return status.FromContextError(s.ctx.Err()).Err()
	default:
		return s.refuse(invalid(err))
	}
	s.received = true
	s.charged.reset()
	if err := checkSize(in, s.bytesMax); err != nil {
		return s.refuse(err)
	}
	return hand(in, v)
}

// refuse stores the error that ended the requests, because handlers may drop it.
func (s *stream) refuse(err error) error {
	st := statusOf(err)
	s.badInput.CompareAndSwap(nil, st)
	return st.Err()
}

// meteredBody limits the bytes of one message, where http.MaxBytesReader would limit those of all.
type meteredBody struct {
	body io.Reader
	max  int64
	read int64 // since begin
}

func (b *meteredBody) begin() { b.read = 0 }

// Read implements io.Reader.
func (b *meteredBody) Read(p []byte) (int, error) {
	if b.read > b.max {
		return 0, &http.MaxBytesError{Limit: b.max}
	}
	// One byte more than allowed shows that the message is too long.
	n, err := b.body.Read(p[:min(int64(len(p)), b.max+1-b.read)])
	b.read += int64(n)
	return n, err
}
