// Package clusterwatch watches a cluster for the gRPC proxy, over grpcclient's connections.
//
// It owns the Watch calls to the members and the watches on them: watches with the same metadata
// share a call. When a call breaks, its watches continue at another member, each at the revision
// after the last one that it has delivered. It does not own what clients share: package grpcproxy
// has one watch of this package for all watchers of a range.
//
// An event passes through one goroutine, the one that reads the connection: it decodes the response
// and calls the handler. (The watch of etcd's Go client passes it on to four others.)
//
// # Protocol
//
// A member responds to the requests of a call in their order. So the first response "created"
// belongs to the first request that has none, and the member chooses the ID: that is how every
// version of etcd does it. A response in fragments is delivered when it is complete, since a
// revision may be split between them; if the call breaks before that, all of it is received again.
//
// A call that ends with Unavailable, Internal or Canceled, or without an error, is made again. Any
// other error ends its watches, and so does the loss of the leader, if the metadata requires one.
//
// Invariants: a watch gets each event of its range from its start on once, in order (TestResume);
// Ended is called once, and nothing after it (TestEnd).
//
// Concurrency: Client.mu guards the map of the calls; feed.mu a call and its watches. Client.mu may
// be locked while feed.mu is not. No lock is held while a handler's method runs, except that of the
// grpcclient.Stream: methods for the watches of one call run one after the other.
package clusterwatch
