// Package portmux serves several protocols on one port: gRPC, other requests over HTTP/2, HTTP/1
// and TLS.
//
// It owns the listeners' accept loops, the number of open connections, the TLS handshake and the
// first bytes of a connection. A connection is then served by one of two engines, for HTTP/2
// (package http2) or for HTTP/1 (package http1); on HTTP/2, Router passes each request to gRPC
// (package grpcserver) or to the bridge to http.Handler (package httpbridge) by its content type.
// It does not own certificates: Serve takes a tls.Config.
//
// # How protocols are distinguished
//
//	first byte 22         a TLS handshake (RFC 8446, 5.1)
//	ALPN "h2"             HTTP/2
//	"PRI * HTTP/2.0…"     HTTP/2 (RFC 9113, 3.4); on TLS, too, when the client sent no ALPN
//	anything else         HTTP/1
//
// A TLS client on a port without TLS, or the reverse, gets a response that says so: in HTTP/1, or
// as GOAWAY to a client that began with the HTTP/2 preface.
//
// TLS ends here: the engines get the decrypted connection and its tls.ConnectionState, which
// handlers find in http.Request.TLS and, for gRPC, in the AuthInfo of peer.FromContext.
//
// Invariants: a connection is counted from Accept until its engine has closed it; it is closed if
// its protocol is not detected in time (TestMaxConns, TestSlowHeaders).
//
// Concurrency: one goroutine per listener and, until its engine takes it, one per connection.
package portmux
