// Package listen turns URLs into listeners: TCP, Unix sockets, sockets that systemd passes, and TLS
// on any of them.
//
// It owns the binding of addresses and the TLS handshake of connections: a failed handshake is
// logged with an explanation, and a client without TLS gets a response that says so. It does not
// own the certificates (package certs) nor the service on a connection.
//
// Invariants: Open binds all addresses or none (TestOpenErrors). A connection of a secure listener
// carries data only after its handshake (TestHandshakeTimeout).
//
// Concurrency: a Listener is a net.Listener. Its Secure is called before the first Accept.
package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"
)

// Address is an address to bind.
type Address struct {
	Scheme  string // http, https, unix or unixs
	Address string // HOST:PORT, or the path of a socket
}

// network returns the network of net.Listen.
func (a Address) network() string {
	if a.Scheme == "unix" || a.Scheme == "unixs" {
		return "unix"
	}
	return "tcp"
}

// Listener is bound to an Address.
type Listener struct {
	net.Listener
	scheme string
	secure *security // nil without TLS
}

// URL returns the listener's URL, with the actual port if the configured one is 0.
func (l *Listener) URL() string { return l.scheme + "://" + l.Addr().String() }

// IsSecure reports whether the address uses TLS.
func (l *Listener) IsSecure() bool { return l.scheme == "https" || l.scheme == "unixs" }

// Options are options of binding.
type Options struct {
	ReusePort bool // let other processes of the same user bind the same port
	Inherited Inherited
}

// Open binds addresses, in order. An error names the address; then nothing stays bound.
func Open(ctx context.Context, addresses []Address, o Options) (all []*Listener, err error) {
	for _, a := range addresses {
		l, err := open(ctx, a, o)
		if err != nil {
			for _, l := range all {
				_ = l.Close()
			}
			return nil, describe(a, err)
		}
		all = append(all, &Listener{Listener: l, scheme: a.Scheme})
	}
	return all, nil
}

func open(ctx context.Context, a Address, o Options) (net.Listener, error) {
	if l := o.Inherited.take(a); l != nil {
		return l, nil
	}
	if a.network() == "unix" {
		if err := removeStale(ctx, a.Address); err != nil {
			return nil, err
		}
	}
	config := net.ListenConfig{}
	if o.ReusePort {
		config.Control = reusePort
	}
	return config.Listen(ctx, a.network(), a.Address)
}

func reusePort(network, _ string, socket syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	var failed error
	if err := socket.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); err != nil {
		return err
	}
	return failed
}

// removeStale removes a socket left by a process that has ended. Any other file, and a socket on
// which a process listens, stay.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&os.ModeSocket == 0 {
		return nil //nolint:nilerr // there is nothing to remove; binding says what is wrong
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		_ = c.Close()
		return syscall.EADDRINUSE
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return os.Remove(path)
	}
	return nil
}

// describe explains to the user why an address cannot be bound.
func describe(a Address, err error) error {
	way := "give another URL"
	switch {
	case a.network() == "unix" && errors.Is(err, syscall.EADDRINUSE):
		way = "stop the process that listens there, remove the file if it is not a socket, or give another path"
	case a.network() == "unix" && errors.Is(err, syscall.EACCES):
		way = "give a path in a directory in which this user may create files"
	case a.network() == "unix" && errors.Is(err, syscall.ENOENT):
		way = "create its directory"
	case errors.Is(err, syscall.EADDRINUSE):
		way = "stop what listens there, or give another port"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		way = "give an address of this machine"
	case errors.Is(err, syscall.EACCES):
		way = "give a port above 1023, or the right to use lower ones"
	}
	if number := syscall.Errno(0); errors.As(err, &number) {
		err = number
	}
	return fmt.Errorf("listen on %s: %w; %s", a.Address, err, way)
}

// Inherited has the sockets that systemd has passed (sd_listen_fds(3)) for a unit with a .socket.
type Inherited struct{ left *[]net.Listener }

// Inherit returns the sockets that were passed to this process, if any.
func Inherit() (Inherited, error) {
	all, err := activation.Listeners()
	if err != nil {
		return Inherited{}, fmt.Errorf("sockets passed by systemd: %w", err)
	}
	all = slices.DeleteFunc(all, func(l net.Listener) bool { return l == nil })
	return Inherited{&all}, nil
}

// Left returns the addresses of the sockets that no URL uses.
func (i Inherited) Left() (addresses []string) {
	if i.left == nil {
		return nil
	}
	for _, l := range *i.left {
		addresses = append(addresses, l.Addr().String())
	}
	return addresses
}

// take returns the socket that is bound to an address, or nil.
func (i Inherited) take(a Address) net.Listener {
	if i.left == nil {
		return nil
	}
	want := a.Address
	if a.network() == "tcp" {
		resolved, err := net.ResolveTCPAddr("tcp", a.Address)
		if err != nil {
			return nil
		}
		want = resolved.String()
	}
	n := slices.IndexFunc(*i.left, func(l net.Listener) bool { return l.Addr().Network() == a.network() && l.Addr().String() == want })
	if n < 0 {
		return nil
	}
	l := (*i.left)[n]
	*i.left = slices.Delete(*i.left, n, n+1)
	return l
}
