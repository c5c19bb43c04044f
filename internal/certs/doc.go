// Package certs turns files of certificates, keys, authorities and revocation lists into TLS
// configurations: for a server's port and for connections that are dialed.
//
// It owns the checks in a handshake (chain, common name, host names, revocation, the address of the
// remote end), reloading of changed files, self-signed certificates, the expiry of certificates,
// and the error texts of failed handshakes. It does not own listeners (package listen) nor the
// permissions of a certificate's common name (package auth).
//
// # Reload
//
// A Source checks its files (size, time, inode) before each handshake. When one has changed, all of
// them are read again. New handshakes use the new files; existing connections stay open. Files that
// cannot be used are logged once, and the last usable ones stay in use.
//
// # Semantics
//
// They are etcd's (https://etcd.io/docs/v3.6/op-guide/security/): a server requests client
// certificates when it has a file of authorities; --peer-cert-allowed-cn and -hostname are checked
// in both directions; on the peer port, a client certificate with IP addresses or DNS names among
// its subject alternative names must come from one of them.
//
// Invariant: a configuration that a Source returns never changes afterwards.
//
// Concurrency: a Source may be used by any number of goroutines.
package certs
