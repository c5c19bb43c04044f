// Package grpcclient makes unary gRPC calls to the members of a cluster, for proxies, which forward
// many small calls.
//
// It owns the connections to the members, the choice of a member for each call, and the protocol:
// HTTP/2 as a client, with one stream per call. It implements grpc.ClientConnInterface, so
// generated clients work on it. It does not own calls with streams: those go to another connection,
// of grpc-go. A call costs a fraction of what it costs grpc-go, whose client hands every frame to
// other goroutines: here the caller encodes its frames itself, and one of the concurrent callers
// writes the frames of all.
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
// Invariants: a call completes once; a frame of a stream is written only after its HEADERS, in the
// order of the stream IDs (TestConcurrentCalls); no more bytes of DATA are sent than the member has
// allowed (TestFlowControl).
//
// Concurrency: conn.mu guards a connection's state; each connection has one goroutine that reads.
// The goroutine that sets conn.writing writes the output until it is empty.
package grpcclient
