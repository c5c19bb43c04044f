package portmux

import (
	"cairn/internal/grpcserver"
	"cairn/internal/http2"
)

// Router is the http2.Protocol that passes gRPC calls to GRPC and all other requests to HTTP.
type Router struct{ GRPC, HTTP http2.Protocol }

var _ http2.Protocol = Router{}

// Accept implements http2.Protocol.
func (r Router) Accept(c *http2.Conn) http2.ConnHandler {
	return &routedConn{grpc: r.GRPC.Accept(c), http: r.HTTP.Accept(c)}
}

type routedConn struct{ grpc, http http2.ConnHandler }

// Open implements http2.ConnHandler. A request whose headers are too large may lack its content
// type; it goes to gRPC, whose refusal HTTP clients understand, too.
func (c *routedConn) Open(r *http2.Request) http2.Handler {
	if r.TooLarge || grpcserver.IsGRPC(r.ContentType) {
		return c.grpc.Open(r)
	}
	return c.http.Open(r)
}
