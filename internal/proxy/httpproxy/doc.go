// Package httpproxy forwards what clients of etcd send, in both dialects, to the members of a
// cluster: the proxy behind "etcd --proxy on".
//
// It owns the list of the members' client URLs, the choice among them, connections to them, and how
// requests and responses are forwarded. It does not own listeners, TLS of the client port or
// telling protocols apart (package portmux), nor how members are found (Options.Find).
//
// # What is forwarded how
//
//	HTTP/1             each request by itself, over pooled connections (handler.go, upstream.go)
//	an upgrade         the request, then the bytes of the connection (websockets of the JSON gateway)
//	HTTP/2             the connection as a whole, byte for byte (connections.go): gRPC's flow
//	                   control, metadata, trailers and GOAWAY are the member's own
//	HTTP/2, read-only  each call or request by itself (readonly.go), so that writes can be refused
//
// docs/adr/0015 has the measurements behind this.
//
// # Members that fail
//
// A member that cannot be dialed, or whose connection breaks, gets no requests for
// Options.FailureWait unless all are in this state, and the members are looked for again soon. A
// request that certainly was not carried out (no connection, or a read) is sent to the next member;
// a write whose connection broke after it was sent is answered with 502, since it may have been
// carried out.
//
// Invariants: a request body is held only up to bodyHeldBytes, and longer ones, like responses, are
// read as fast as the other side takes them; a long poll that waits holds no buffers.
//
// Concurrency: a Proxy may serve any number of connections. directory.mu guards the list of
// members, pool.mu the idle connections of one.
package httpproxy
