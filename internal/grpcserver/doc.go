// Package grpcserver serves gRPC on package http2: calls, streams, deadlines, status, metadata and
// gzip.
//
// It owns everything between an HTTP/2 stream and the functions that protoc-gen-go-grpc generates:
// Server is a grpc.ServiceRegistrar, so services register with it as they register with a
// *grpc.Server. It uses grpc-go's packages for the API that services use: status, codes, metadata,
// peer, ServerStream. It does not own connections, services or authentication.
//
// A unary call starts once its message and the client's END_STREAM have arrived. Messages may
// decode and encode themselves (WireUnmarshaler, WireAppender), and long responses may be sent in
// pieces without a copy (WirePieces).
//
// Invariants: a handler runs at most once per call (call.Serve checks it); a call ends with exactly
// one status (call.finishLocked keeps the first), in trailers after every message of the response,
// or with a reset; the bytes of a unary request are valid until its response has been encoded.
//
// Concurrency: each call has one handler goroutine and is fed by the reader of its connection.
// call.mu guards the metadata that handlers set. It may be locked while the connection's lock is
// held, and not the reverse.
package grpcserver
