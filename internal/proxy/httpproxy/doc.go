// Package httpproxy forwards clients' requests, in both dialects, to the members of a cluster: the
// proxy behind "etcd --proxy on".
//
// It owns the list of the members' client URLs, the choice among them, connections to them, and the
// forwarding of requests and responses. It does not own listeners, TLS of the client port or the
// detection of protocols (package portmux), nor the search for members (Options.Find).
//
// # Forwarding
//
//	HTTP/1             each request separately, over pooled connections (handler.go, upstream.go)
//	an upgrade         the request, then the bytes of the connection (websockets of the JSON gateway)
//	HTTP/2             the connection as a whole, byte for byte (connections.go): gRPC's flow
//	                   control, metadata, trailers and GOAWAY are the member's own
//	HTTP/2, read-only  each call or request separately (readonly.go), so that writes can be refused
//
// docs/adr/0015 has the measurements.
//
// # Members that fail
//
// A member that cannot be dialed, whose connection breaks, or that responds 500 or 503 to a write,
// gets no requests for Options.FailureWait unless all are in this state, and the search for members
// is repeated soon. A request that certainly was not carried out (no connection, or a read) is sent
// to the next member; a write whose connection broke after it was sent gets 502, since it may have
// been carried out. A long poll that its member ends without an event is sent to the next member,
// from the revision at which it began, and the client gets one response (poll.go).
//
// Invariants: only the first bodyHeldBytes of a request's body are held in memory; the rest, and
// responses, are read as fast as the other side reads them; a long poll that waits holds one buffer
// of copyBytes.
//
// Concurrency: a Proxy may serve any number of connections. directory.mu guards the list of
// members, pool.mu the idle connections of one.
package httpproxy
