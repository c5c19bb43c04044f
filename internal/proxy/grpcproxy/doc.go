// Package grpcproxy serves etcd's v3 services in front of a cluster: the proxy behind "etcd
// grpc-proxy start".
//
// It owns what many clients share: one watch of the cluster for all watches of a range (watch.go,
// group.go), one renewal for all clients of a lease (renewer.go), the responses to serializable
// reads (cache.go), and the list of proxies that MemberList returns (cluster.go). All other calls
// are forwarded unchanged (package rawgrpc). It does not own connections: the caller has a client
// of the cluster and the servers.
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
// # Reads
//
// A serializable read is served from the cache while a watch of its range has reported no change,
// and never from a revision before the one that the same connection has seen.
//
// Invariants: a watcher gets each event of its range from its start on once, in order; the response
// to a renewal is never older than renewalFresh.
//
// Concurrency: span.mu guards the groups of a range and the membership of watchers in them,
// stream.mu the queue for a client; stream.mu may be locked while span.mu is held. No other lock is
// held while cache.mu or renewer.mu is.
package grpcproxy
