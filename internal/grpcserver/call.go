package grpcserver

import (
	"context"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"cairn/internal/http2"
	"cairn/internal/invariant"
)

var (
	statusOK           = status.New(codes.OK, "")
	statusTooMany      = status.Convert(rpctypes.ErrGRPCRequestTooManyRequests)
	statusCutShort     = status.New(codes.Internal, "unexpected EOF")
	statusNoMessage    = status.New(codes.Internal, "cardinality violation: received no request message from non-client-streaming RPC")
	statusManyMessages = status.New(codes.Internal, "cardinality violation: received multiple request messages for non-client-streaming RPC")
)

// call is one gRPC call: an HTTP/2 stream and the messages queued in both directions.
type call struct {
	http2.Stream
	c         *connection
	head      *callHead
	streaming bool

	// refused, if not nil, ends the call instead of a handler, with the HTTP status refusedHTTP.
	refused     *status.Status
	refusedHTTP int

	gzip      bool // the client compresses its messages
	gzipReply bool

	// Reader-owned: the message in assembly.
	prefix    [messagePrefixLen]byte
	prefixLen int
	need      int // missing bytes of the message
	msg       *http2.Buffer
	msgGzip   bool

	// request is a unary call's message, set before it is dispatched.
	request     *http2.Buffer
	requestGzip bool

	served bool // the handler has been started

	// messages serves the call, if it is not nil; see messages.go.
	messages Messages
	// final is the status of the call, guarded by the connection's lock.
	final *status.Status

	mu       sync.Mutex // guards the fields below
	header   metadata.MD
	trailer  metadata.MD
	headSent bool
	timer    *time.Timer // ends a parked call at its deadline; nil without one
}

// Started implements http2.Handler.
func (c *call) Started(end bool) {
	switch {
	case c.refused != nil:
		c.refuse(c.refused)
	case c.streaming && !end && c.serveMessages():
	case c.streaming:
		c.Run()
	case end:
		c.refuse(statusNoMessage)
	}
}

// refuse ends a call without its handler: at once when no handler runs, otherwise through its next
// RecvMsg. The reader calls it.
func (c *call) refuse(s *status.Status) {
	c.Discard()
	if c.msg != nil {
		c.msg.Free()
		c.msg = nil
	}
	if c.streaming && c.refused == nil {
		c.push(http2.Received{}, s.Err())
		return
	}
	c.Lock()
	c.finishLocked(s)
	c.UnlockReader()
}

// finishLocked ends the call with s, after the messages that it has queued.
func (c *call) finishLocked(s *status.Status) {
	if c.final == nil {
		c.final = s
		c.FinishLocked()
	}
}

// Serve implements http2.Handler.
func (c *call) Serve(w *http2.Worker) (reading bool) {
	if c.messages != nil {
		c.serveQueued()
		return false
	}
	invariant.Check(!c.served, "the handler of a call is started twice")
	c.served = true
	if c.streaming {
		return c.serveStream()
	}
	return c.serveUnary(w)
}

// decoder is what generated handlers call to decode a unary request: one closure per worker instead
// of one per call.
type decoder struct {
	call   *call
	decode func(any) error
}

func decoderOf(w *http2.Worker) *decoder {
	d, ok := w.Data.(*decoder)
	if !ok {
		d = &decoder{}
		d.decode = func(v any) error { return d.call.decodeRequest(v) }
		w.Data = d
	}
	return d
}

// serveUnary reports whether the calling goroutine still reads the connection, if it ever did.
func (c *call) serveUnary(w *http2.Worker) (reading bool) {
	m := c.head.method
	d := decoderOf(w)
	d.call = c
	var reply any
	err := context.Canceled
	if !c.Ended() { // a client may reset calls faster than they are started
		reply, err = m.unary.Handler(m.impl, c.Context(), d.decode, nil)
	}
	d.call = nil
	var s *status.Status
	var rest http2.Pieces
	out := w.Scratch
	if err != nil {
		s = statusOf(err)
	} else if rest, s = c.encode(&out, reply); s == nil {
		s = statusOK
	}
	w.Scratch = out
	// The response may alias the request's bytes up to here.
	if c.request != nil {
		c.request.Free()
		c.request = nil
	}
	c.LockServed(true)
	if isUnexecuted(err) {
		rest.Free()
		c.ResetLocked(http2.ResetRefused)
		w.TrimScratch()
		return c.UnlockServed()
	}
	if s == statusOK && !c.EndedLocked() {
		c.headLocked()
		if c.SendLocked(out.B, out) {
			w.Scratch = http2.NewBuffer(http2.CopyBytesMax)
		}
		c.SendPiecesLocked(rest)
	} else {
		rest.Free()
	}
	c.finishLocked(s)
	w.TrimScratch()
	return c.UnlockServed()
}

// decodeRequest decodes the unary request; generated handlers call it.
func (c *call) decodeRequest(v any) error {
	if c.requestGzip {
		plain, s := c.inflate(c.request)
		if s != nil {
			return s.Err()
		}
		c.request.Free()
		c.request, c.requestGzip = plain, false
	}
	return unmarshal(c.request.B, v)
}
