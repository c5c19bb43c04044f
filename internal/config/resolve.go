package config

import (
	"context"
	"net"
	"net/netip"
	"slices"
)

// Lookup returns the addresses of a host name. net.Resolver.LookupNetIP is one.
type Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

// SameAddresses reports whether two lists have the same addresses. Where the texts differ, host
// names are resolved, as etcd does: a member may advertise its name and be listed by its IP
// address, or the reverse. A name that cannot be resolved is the same as itself only.
func SameAddresses(ctx context.Context, lookup Lookup, a, b URLs) bool {
	a, b = a.canonical(), b.canonical()
	if slices.Equal(a, b) {
		return true
	}
	if len(a) != len(b) {
		return false
	}
	known := map[string][]netip.Addr{}
	for _, u := range a {
		if !slices.ContainsFunc(b, func(other URL) bool { return u.meets(ctx, lookup, known, other) }) {
			return false
		}
	}
	return true
}

// meets reports whether two canonical URLs differ in the host's text alone, and have an address in
// common. known has the names that were resolved before.
func (u URL) meets(ctx context.Context, lookup Lookup, known map[string][]netip.Addr, other URL) bool {
	if u == other {
		return true
	}
	if u.Scheme != other.Scheme || u.Unix() || u.port() != other.port() {
		return false
	}
	theirs := addresses(ctx, lookup, known, other.host())
	return slices.ContainsFunc(addresses(ctx, lookup, known, u.host()), func(ip netip.Addr) bool {
		return slices.Contains(theirs, ip)
	})
}

func (u URL) port() string {
	_, port, _ := net.SplitHostPort(u.HostPort) // ParseURL has split it before
	return port
}

// addresses returns the addresses of a host, none when it cannot be resolved.
func addresses(ctx context.Context, lookup Lookup, known map[string][]netip.Addr, host string) []netip.Addr {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}
	}
	found, ok := known[host]
	if !ok {
		ips, err := lookup(ctx, "ip", host)
		if err == nil {
			for _, ip := range ips {
				found = append(found, ip.Unmap())
			}
		}
		known[host] = found
	}
	return found
}
