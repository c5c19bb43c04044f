// Package http1 serves HTTP/1.0 and HTTP/1.1 (RFC 9112) to an http.Handler. It is optimized for
// many small requests on persistent connections, and for thousands of waiting requests.
//
// It owns everything between a connection and the handler: parsing requests, bodies and their
// framing, writing responses, persistent connections, limits and time-outs. It does not own
// listening, TLS or distinguishing HTTP/1 from HTTP/2: package portmux passes connections to
// Server.ServeConn, with the bytes that it has read from them.
//
// Compared with net/http's server it saves, for each request, the goroutine that detects when the
// client disconnects, the setting and clearing of deadlines, and most allocations; and for each
// idle or waiting connection, the two buffers and the grown stack (docs/adr/0009).
//
// # The path of a request
//
//  1. The connection's goroutine waits until there is something to read. Only then does it take a
//     buffer (socket.go).
//  2. The head is made one string; every part of the http.Request is a substring of it (head.go).
//     Bodies are read when the handler reads them (body.go).
//  3. The handler runs on the same goroutine. A response of up to bodyBufferedBytes is sent with
//     its head in one write (response.go).
//  4. A handler whose response will come later, such as a long poll, calls Park and returns. Until
//     then the request needs only a goroutine with a small stack, which waits for the client or
//     for Wake (park.go).
//
// # Differences from net/http
//
//   - The request's context ends when the client disconnects only after its Done channel has been
//     requested: watching costs a goroutine, and a handler that waits for a disk does not need it.
//   - A connection is closed when its client reads nothing of a response, or sends nothing of a
//     body, for Options.WriteTimeout or Options.ReadTimeout; progress restarts the time, within
//     Options.LeastRate.
//   - A request with both Content-Length and Transfer-Encoding, or a header continued on the next
//     line, is refused (RFC 9112, 5.2 and 6.1: both have been used to smuggle requests past
//     proxies). A line feed without a carriage return does not end a chunk's line.
//   - Trailers of requests are discarded, and not written in responses.
//
// # Invariants
//
//   - At most one goroutine reads a connection: its own, the handler's, or watch (context.go),
//     which is stopped before another goroutine reads.
//   - A connection is idle (between requests) or active, and Shutdown closes only idle ones: a
//     request whose first byte was read gets a response (TestShutdown).
//   - When a response has ended, goroutines that its handler left behind cannot use the connection:
//     exchange.closed and ended (TestLateHandlers).
//
// # Concurrency
//
// Server.mu guards the set of connections, exchange.writing the response, exchange.mu the state
// that a request's context and Wake share with its goroutine, body.mu a body; they are locked in
// this order. Everything else belongs to the connection's goroutine.
package http1
