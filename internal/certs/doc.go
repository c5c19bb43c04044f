// Package certs turns files of certificates, keys, authorities and revocation lists into TLS
// configurations: for a server's port and for connections that are dialed.
//
// It owns what is checked in a handshake (chain, common name, host names, revocation, the address
// of the other end), reloading of files that change, self-signed certificates, the expiry of
// certificates, and the words for handshakes that fail. It does not own listeners (package listen)
// nor what a certificate's common name is allowed to do (package auth).
//
// # Reload
//
// A Source looks at its files (size, time, inode) before each handshake. When one has changed, all
// of them are read again. New handshakes use the new files; connections that exist are kept. Files
// that cannot be used are logged once, and the last usable ones stay in use.
//
// # Semantics
//
// They are etcd's (https://etcd.io/docs/v3.6/op-guide/security/): a server asks for client
// certificates when it has a file of authorities; --peer-cert-allowed-cn and -hostname are checked
// in both directions; a client certificate with IP addresses or DNS names among its subject
// alternative names must come from one of them, on the peer port.
//
// Invariant: a configuration that a Source returns is never changed afterwards.
//
// Concurrency: a Source may be used by any number of goroutines.
package certs
