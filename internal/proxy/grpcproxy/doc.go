// Package grpcproxy serves etcd's v3 services in front of a cluster: the proxy behind "etcd
// grpc-proxy start".
//
// It owns what many clients share: one watch of the cluster for all watches of a range (watch.go,
// group.go), one renewal for all clients of a lease (lease.go), the responses to serializable reads
// (cache.go), and the list of proxies that MemberList shows (cluster.go). What is not shared is
// forwarded as it is (package rawgrpc). It does not own connections: the caller has a client of the
// cluster and the servers.
//
// # Watches
//
// A group is one watch of the cluster with the watchers that it serves. Its position is the
// revision up to which it has delivered everything. A watcher joins a group whose position is not
// behind its start; otherwise it gets a group of its own, which is merged into another one of its
// range as soon as both have the same position. A watch without a start begins behind the greatest
// revision that the proxy has shown to any client. Watchers whose client does not read leave their
// group, and join again where they left when the client has read what was queued.
//
// # Reads
//
// A serializable read is answered from the cache while a watch of its range has reported no change,
// and never from a revision before the one that the same connection has seen.
//
// Invariants: a watcher gets each event of its range from its start on once, in order; the response
// to a renewal is never older than renewalFresh.
//
// Concurrency: span.mu guards the groups of a range and the membership of watchers in them,
// stream.mu what is queued for a client; stream.mu may be taken while span.mu is held. cache.mu and
// renewer.mu are taken alone.
package grpcproxy
