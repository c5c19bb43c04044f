// Package grpcproxy serves etcd's v3 services in front of a cluster: the proxy behind "etcd
// grpc-proxy start".
//
// It owns what many clients share: one watch of the cluster for all watches of a range (watch.go,
// group.go), one renewal for all clients of a lease (renewer.go), the responses to serializable
// reads (cache.go), and the list of proxies that MemberList returns (cluster.go). All other calls
// are forwarded unchanged (package rawgrpc). It does not own connections: the caller has the
// clients of the cluster and the servers. Package clusterwatch makes the watches of the cluster,
// and continues them when a member is lost.
//
// # Watches
//
// A group is one watch of the cluster and the watchers that it serves. Its position is the first
// revision that it has not delivered. A watcher joins a group whose position is not after its
// start; otherwise it gets a separate group, which is merged into another one of its range as soon
// as both have the same position. A watch without a start begins after the greatest revision that
// the proxy has returned to any client. A watcher whose client does not read leaves its group, and
// joins again at the same position when the client has read the queued events.
//
// A group's watch of the cluster has the token of one of its clients. If the cluster refuses the
// token because it is outdated, that client's call ends, so that its library makes it again with a
// new token; the other watchers get another group.
//
// # Reads
//
// A serializable read is served from the cache while a watch of its range has reported no change,
// and never from a revision before the one that the same connection has seen.
//
// Invariants: a watcher gets each event of its range from its start on once, in order; the response
// to a renewal is never older than renewalFresh.
//
// Concurrency: span.mu guards the groups of a range and the membership of watchers in them,
// stream.mu the queue for a client. flow.mu is held while a group's events are delivered. The locks
// are taken in the order flow.mu, span.mu, stream.mu. No other lock is held while cache.mu or
// renewer.mu is.
package grpcproxy
