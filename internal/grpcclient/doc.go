// Package grpcclient makes gRPC calls to the members of a cluster, for proxies, which forward many
// small calls.
//
// It owns the connections to the members, the choice of a member for each call, and the protocol:
// HTTP/2 as a client. A unary call costs a fraction of what it costs grpc-go, whose client hands
// every frame to other goroutines: here the caller encodes its frames itself, and one of the
// concurrent callers writes the frames of all. A Client implements grpc.ClientConnInterface, so
// generated clients work on it; their calls with streams go to another connection, of grpc-go. The
// streams of this package (Client.Open) are for package clusterwatch: the goroutine that reads the
// connection passes each message to a handler.
//
// # Choice of a member
//
// Calls use the members with a connection in turn. A member that cannot be dialed is tried again
// after a pause; calls wait for a connection until their deadline, or until every member has
// failed. A member that responded Unavailable to a call that is not safe is avoided for a second.
//
// # Faults
//
// An error is an *Error. It reports whether the call has certainly not been executed: it was not
// sent, or the member has refused it unprocessed (RFC 9113, 8.7). Such a call is sent again, and so
// is a call that changes nothing (Options.IsSafe). After a connection has broken, other calls wait
// until a member confirms that the cluster has a leader (Options.Confirm): otherwise the next write
// would be forwarded to the lost leader, and fail as well.
//
// A stream is not repeated: its handler is told that it has ended.
//
// Invariants: a call completes once; a frame of a stream is written only after its HEADERS, in the
// order of the stream IDs (TestConcurrentCalls); no more bytes of DATA are sent than the member has
// allowed (TestFlowControl); a stream's handler gets each message once, in order, and its end once
// (TestStream, TestStreamEnds).
//
// Concurrency: conn.mu guards a connection's state; each connection has one goroutine that reads.
// Stream.delivery is held while a method of a stream's handler runs, so methods of a Stream do not
// lock it, and write on other goroutines.
// The goroutine that sets conn.writing writes the output until it is empty.
package grpcclient
