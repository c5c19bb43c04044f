// Package http2 is the server side of HTTP/2 (RFC 9113): frames, header compression (RFC 7541),
// flow control, streams and limits, optimized for many small requests per second.
//
// It owns a connection from its preface on. The meaning of a request belongs to a Protocol:
// packages grpcserver and httpbridge are two. It does not own listeners, TLS or distinguishing
// HTTP/2 from other protocols (package portmux).
//
// # The path of a request
//
//  1. The connection's reader has one buffer and parses frames in place (read.go). Header blocks go
//     through hpack.go; the result is cached, so that a block with the same bytes is not decoded
//     again while the compression table is unchanged (request.go).
//  2. The protocol's ConnHandler makes a Handler for the request, which embeds the Stream. It
//     starts on a parked worker goroutine (workers.go), or on the reader itself when the protocol
//     requests that (inline.go).
//  3. The handler encodes its response and appends HEADERS and DATA to the connection's output
//     under its mutex (write.go). If no other goroutine is writing, it then writes the whole
//     output: ten handlers that finish together cost one system call.
//
// # Invariants
//
//   - A stream is in Conn.streams from its HEADERS until both sides have ended it or either side
//     has reset it.
//   - Header blocks are encoded in the order in which they are appended to the output, under
//     Conn.mu, because they share one compression state (Stream.BeginLocked checks the lock in
//     builds with the tag invariants).
//   - At most one goroutine writes to the socket (output.writing), at most one reads from it.
//   - The memory that a peer can occupy is limited per connection: streams, header bytes, unread
//     request bytes, queued responses and handlers of streams that it has reset (limits.go). A peer
//     that exceeds a limit loses its stream or its connection; other connections are not affected
//     (TestFloodWithoutReading and the tests beside it, one per limit).
//
// # Concurrency
//
// Conn.mu guards the output, flow control towards the peer and the stream table; Stream.mu guards
// the data that the reader and the handler share (received bytes). Conn.mu is never locked while
// Stream.mu is held. Fields named "reader-owned" are used by the reading goroutine only.
package http2
