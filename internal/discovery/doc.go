// Package discovery finds the members of a cluster, and the endpoints of one, in the DNS, and the
// members of a new cluster with a discovery service.
//
// It owns the names of the SRV records and how a record becomes a URL. It does not own connections
// to what it found, nor whether a certificate there is the right one.
//
// The names are etcd's (https://etcd.io/docs/v3.6/op-guide/clustering/#dns-discovery): members in
// _etcd-server-ssl._tcp and _etcd-server._tcp, endpoints for clients in _etcd-client-ssl._tcp and
// _etcd-client._tcp. A record of an "-ssl" name is reached over TLS.
//
// Invariant: what comes from the DNS is bounded (recordsMax) and checked before it becomes part of
// a URL: a target is a host name, so it adds no path, user or port to the URL
// (TestRecordsAreBounded, FuzzTarget).
//
// Concurrency: functions of their arguments; any number of goroutines may call them.
package discovery
