package grpcserver

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"cairn/internal/http2"
)

// connection is the gRPC side of one HTTP/2 connection.
type connection struct {
	srv     *Server
	conn    *http2.Conn
	prev    *callHead // reader-owned: the last call's
	scratch []byte    // reader-owned: the response of serveHere

	peerOnce sync.Once
	peerVal  any
}

// Open implements http2.ConnHandler.
func (c *connection) Open(r *http2.Request) http2.Handler {
	if head, ok := r.Memo.(*requestHead); ok {
		return c.newCall(head, r.Exhausted)
	}
	if r.Exhausted {
		// Use none of its header fields.
		return c.newCall(&requestHead{callHead: &callHead{contentType: fieldContentType.Value}}, true)
	}
	head := c.readHead(r)
	if r.Keep && head.refuse == nil {
		kept := head
		r.Memo = &kept
	}
	return c.newCall(&head, false)
}

func (c *connection) newCall(head *requestHead, exhausted bool) *call {
	call := &call{c: c, head: head.callHead, refused: head.refuse, refusedHTTP: head.refuseHTTP}
	call.streaming = head.method != nil && head.method.unary == nil
	if head.refuse != nil {
		return call
	}
	if exhausted {
		call.refused = statusTooMany
		return call
	}
	if head.hasTimeout {
		if head.timeout <= 0 {
			call.refused = status.New(codes.DeadlineExceeded, context.DeadlineExceeded.Error())
		}
		call.SetDeadline(time.Now().Add(head.timeout))
	}
	if call.refused == nil {
		call.refused = call.setEncoding()
	}
	if call.refused == nil && head.method == nil {
		call.refused = c.srv.unknownMethod(head.path)
	}
	return call
}

// noContext is the parent of values that are only looked up by their key.
var noContext = context.Background()

// peer returns the value for peer.FromContext.
func (c *connection) peer() any {
	c.peerOnce.Do(func() {
		p := &peer.Peer{Addr: c.conn.RemoteAddr(), LocalAddr: c.conn.LocalAddr()}
		if state := c.conn.TLS(); state != nil {
			p.AuthInfo = credentials.TLSInfo{
				State:          *state,
				CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
			}
		}
		c.peerVal = peer.NewContext(noContext, p).Value(keyPeer)
	})
	return c.peerVal
}

// The keys under which grpc's packages keep their values are unexported. A probe context learns
// them once from the public functions; the values are then made by those functions too, so nothing
// here depends on how grpc represents them.
var (
	keyIncoming = learnKey(func(ctx context.Context) { metadata.FromIncomingContext(ctx) })
	keyPeer     = learnKey(func(ctx context.Context) { peer.FromContext(ctx) })
	keyStream   = learnKey(func(ctx context.Context) { grpc.ServerTransportStreamFromContext(ctx) })
)

type probeContext struct {
	context.Context
	key any
}

func (p *probeContext) Value(key any) any {
	p.key = key
	return nil
}

func learnKey(ask func(context.Context)) any {
	p := &probeContext{Context: context.Background()}
	ask(p)
	if p.key == nil {
		panic("grpcserver: a grpc package no longer keeps its value in the context")
	}
	return p.key
}

// Value implements http2.Handler for grpc's own keys.
func (c *call) Value(key any) any {
	switch key {
	case keyIncoming:
		return c.head.incoming()
	case keyStream:
		return transportStream{c}
	case keyPeer:
		return c.c.peer()
	}
	return nil
}
