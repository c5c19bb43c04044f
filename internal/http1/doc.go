// Package http1 serves HTTP/1.0 and HTTP/1.1 (RFC 9112) to an http.Handler, written for many small
// requests on connections that are kept alive, and for thousands of requests that wait.
//
// It owns everything between a connection and the handler: parsing requests, bodies and their
// framing, writing responses, keeping connections alive, limits and time-outs. It does not own
// listening, TLS or distinguishing HTTP/1 from HTTP/2: package portmux hands its connections over
// (Server.ServeConn), with what it has read of them.
//
// Against net/http's server it saves, for each request, the goroutine that watches whether the
// client goes away, the deadlines that are set and cleared, and most allocations; and for each
// connection that is idle or waits, the two buffers and the grown stack (docs/adr/0009).
//
// # How a request travels
//
//  1. The connection's goroutine waits until there is something to read. Only then does it take a
//     buffer (socket.go).
//  2. The head is made one string, of which every part of the http.Request is a piece (head.go).
//     Bodies are read as the handler asks for them (body.go).
//  3. The handler runs on the same goroutine. A response of up to bodyBufferedBytes leaves with its
//     head in one write (response.go).
//  4. A handler whose response is to come later, such as a long poll, returns after it has called
//     Park: what is left of the request is a goroutine with a fresh stack that waits for the client
//     or for Wake (park.go).
//
// # Differences from net/http
//
//   - The request's context ends when the client goes away only after its Done channel has been
//     requested: watching costs a goroutine, and a handler that waits for a disk does not need it.
//   - A client that takes nothing of a response, or sends nothing of a body, for
//     Options.WriteTimeout or Options.ReadTimeout is cut off; progress restarts the time, within Options.LeastRate.
//   - A request with both Content-Length and Transfer-Encoding, or a header continued on the next
//     line, is refused (RFC 9112, 5.2 and 6.1: both have been used to smuggle requests past
//     proxies). Nor may a line feed end a chunk's line without a carriage return.
//   - Trailers are read over, and not written.
//
// # Invariants
//
//   - At most one goroutine reads a connection: its own, the handler's, or the one that watches
//     whether the client goes away (context.go), which is stopped before another begins.
//   - A connection is idle (between requests) or active, and only an idle one is closed by
//     Shutdown: a request whose first byte was read is answered.
//   - When a response has ended, nothing that its handler left behind reaches the connection:
//     exchange.closed and ended.
//
// # Concurrency
//
// Server.mu guards the set of connections, exchange.writing the response, exchange.mu what a
// request's context and Wake share with its goroutine, body.mu a body; they are locked in this
// order. Everything else belongs to the connection's goroutine.
package http1
