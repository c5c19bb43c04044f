package h2grpc

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

type streamKind uint8

const (
	kindUnary streamKind = iota
	kindStream
	kindHTTP
)

// stream is one call: an HTTP/2 stream, its context and what gathers for either side.
type stream struct {
	ctx  callContext
	conn *conn
	id   uint32
	kind streamKind
	head *callHead
	req  requestHead // kindHTTP only

	gzip      bool // the client compresses its messages
	gzipReply bool

	// Reader-owned: the message in assembly.
	prefix    [messagePrefixLen]byte
	prefixLen int
	need      int // bytes that the message still lacks
	msg       *buffer
	msgGzip   bool
	recvEnded bool // END_STREAM has been seen
	discard   bool // nobody wants further messages

	// recvWindow is what the client may still send; owed is what it may be given back.
	recvWindow atomic.Int64
	owed       atomic.Int64

	// request is a unary call's message, set before it is dispatched.
	request     *buffer
	requestGzip bool

	// inline is the state of a call that runs on the connection's reader (inline.go).
	inline atomic.Int32

	mu       sync.Mutex // guards the fields below
	queue    []received // kindStream, kindHTTP
	queueEnd error      // what comes after the queue; nil: not known yet
	wake     chan struct{}
	held     int64 // bytes counted in conn.recvBytes
	released bool
	header   metadata.MD
	trailer  metadata.MD
	headSent bool

	// Guarded by conn.mu.
	sendWindow int64
	outq       []outMessage
	outBytes   int
	outLarge   int // of those, bytes of large messages
	reserved   int // bytes of a large message that is being encoded
	inPending  bool
	final      finalState
	remoteDone bool // the client has ended or reset its side
	running    bool // a handler runs
	gone       bool // not in conn.streams any more
	sendWake   chan struct{}
}

// received is a complete message, or for kindHTTP some bytes of the body.
type received struct {
	buf  *buffer
	off  int
	gzip bool
}

// open starts a new stream. It runs on the reader.
func (c *conn) open(h frameHeader, req requestHead) error {
	st := &stream{conn: c, id: h.streamID, head: req.callHead, recvEnded: h.flags&flagEndStream != 0}
	st.ctx.st = st
	st.recvWindow.Store(int64(c.srv.opts.InitialWindow))
	switch {
	case !req.grpc && req.refuse == nil:
		st.kind, st.req = kindHTTP, req
	case req.method != nil && req.method.unary == nil:
		st.kind = kindStream
	}
	if req.hasTimeout && req.refuse == nil {
		if req.timeout <= 0 {
			req.refuse = status.New(codes.DeadlineExceeded, context.DeadlineExceeded.Error())
		}
		st.ctx.deadline = deadlineAfter(req.timeout)
	}
	if req.refuse == nil && req.grpc {
		req.refuse = st.setEncoding()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining && h.streamID > c.goAwayID {
		c.rememberCut(h.streamID)
		return nil // the client knows from GOAWAY that it was not served
	}
	c.lastID = h.streamID
	c.in.last = st
	if uint32(len(c.streams)) >= c.srv.opts.MaxConcurrentStreams || c.orphans >= orphansMax {
		c.out.buf = appendRSTStream(c.out.buf, h.streamID, errRefusedStream)
		c.rememberCut(h.streamID)
		st.gone, c.in.last, c.in.wrote = true, nil, true
		return c.countFlood()
	}
	st.sendWindow = c.out.peerWindow
	st.remoteDone = st.recvEnded
	c.streams[h.streamID] = st
	switch {
	case req.refuse != nil:
		c.refuseLocked(st, req)
	case req.grpc && req.method == nil:
		st.discard = true
		c.finishLocked(st, unknownMethod(c.srv, req.path))
		c.in.wrote = true
	case st.kind == kindUnary:
		if st.recvEnded {
			st.discard = true
			c.finishLocked(st, statusNoMessage)
			c.in.wrote = true
		}
	default:
		st.wake = make(chan struct{}, 1)
		st.sendWake = make(chan struct{}, 1)
		if st.recvEnded {
			st.queueEnd = io.EOF
		}
		st.running = true
		c.srv.workers.run(job{st: st})
	}
	return nil
}

func deadlineAfter(d time.Duration) time.Time { return time.Now().Add(d) }

// refuseLocked answers a request that no handler sees.
func (c *conn) refuseLocked(st *stream, req requestHead) {
	st.discard = true
	c.in.wrote = true
	if req.refuseHTTP != 0 {
		st.mu.Lock()
		st.headSent = true
		st.mu.Unlock()
		o := &c.out
		b := o.hpack.begin(o.block[:0])
		b = appendStatus(b, req.refuseHTTP)
		b = appendField(b, "content-type", "application/grpc")
		b = o.hpack.status(b, req.refuse)
		o.block = b
		o.headers(st.id, b, flagEndStream)
		c.closeLocalLocked(st)
		return
	}
	c.finishLocked(st, req.refuse)
}

// replyType is the content-type of the answer, which names the request's subtype again.
func (st *stream) replyType() string {
	if ct := st.head.contentType; isGRPC(ct) {
		for i := range len(ct) {
			if ct[i] == ';' {
				return ct[:i]
			}
		}
		return ct
	}
	return "application/grpc"
}
