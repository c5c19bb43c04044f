// Package discovery finds the members and the endpoints of a cluster by DNS, and the members of a
// new cluster by a discovery service.
//
// It owns the names of the SRV records and the conversion of a record to a URL. It does not own
// connections to the results, nor the check of their certificates.
//
// The names are etcd's (https://etcd.io/docs/v3.6/op-guide/clustering/#dns-discovery): members in
// _etcd-server-ssl._tcp and _etcd-server._tcp, endpoints for clients in _etcd-client-ssl._tcp and
// _etcd-client._tcp. A record of an "-ssl" name is reached over TLS.
//
// Invariant: data from the DNS is limited (recordsMax) and checked before it becomes part of
// a URL: a target is a host name, so it adds no path, user or port to the URL
// (TestRecordsAreBounded, FuzzTarget).
//
// Concurrency: the functions depend only on their arguments; any goroutine may call them.
package discovery
