// Package h2grpc is a gRPC server transport: HTTP/2 framing, flow control, header
// compression, calls and streams, written for many small unary calls per second.
//
// It owns everything between a net.Listener and the functions that protoc-gen-go-grpc generates: it
// is a grpc.ServiceRegistrar, so services register with it exactly as they register with a
// *grpc.Server. It does not own services, authentication or TLS certificates; a TLS listener that
// negotiates "h2" by ALPN is served like a plain one. HTTP/1.x on the same port goes to a
// ConnServer (package http1); a request that is not gRPC but comes over HTTP/2 goes to the same
// http.Handler through a small bridge (http2.go).
//
// # How a unary call travels
//
//  1. The connection's reader has one buffer and parses frames in place (read.go). Header
//     blocks go through hpack.go; a request whose headers equal the previous request's
//     shares its decoded form (head.go), so a call costs a few table look-ups.
//  2. When the one message and END_STREAM are there, the call is given to a parked worker
//     goroutine (workers.go), or is run by the reader itself when Options.Inline says so
//     (inline.go).
//  3. The worker encodes the answer and appends HEADERS, DATA and trailers to the
//     connection's output under its mutex (write.go). Whoever finds nobody writing writes
//     everything that has gathered: ten calls that finish together cost one system call.
//
// # Invariants
//
//   - A stream is in conn.streams from its HEADERS until both sides have ended it or either
//     side has reset it.
//   - Header blocks are encoded in the order in which they are appended to the output, under
//     conn.mu, because they share one compression state.
//   - At most one goroutine writes to the socket (output.writing), at most one reads from it.
//   - What a peer can make the server hold is bounded per connection: streams, header bytes,
//     unread message bytes, queued answers and handlers of streams it has already reset
//     (limits.go). Whoever exceeds a bound loses its stream or its connection, nobody else's.
//
// # Concurrency
//
// conn.mu guards output, flow control towards the peer and the stream table; stream.mu guards
// what a call's own goroutines share (received messages, metadata). conn.mu is never taken
// while stream.mu is held. Everything named "reader-owned" is touched by the reading
// goroutine only.
package h2grpc
