package discovery

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// Resolver looks up names; net.DefaultResolver implements it.
type Resolver interface {
	LookupSRV(ctx context.Context, service, proto, name string) (cname string, addrs []*net.SRV, err error)
	LookupHost(ctx context.Context, host string) (addrs []string, err error)
}

// Self is the member that searches for the others.
type Self struct {
	Name     string
	PeerURLs []string // that it advertises
}

// Members returns the members of a new cluster from the SRV records of a domain, in the form of
// --initial-cluster, and the URLs that the records have for the caller. The others get numbers as
// names, as in etcd; member IDs depend on the URLs alone. A record is the caller's when it has the
// scheme and port of a URL that the caller advertises, and the same host or one of its addresses.
func Members(ctx context.Context, r Resolver, domain, suffix string, self Self) (cluster string, own []string, err error) {
	found, faults := lookUp(ctx, r.LookupSRV, memberServices, domain, suffix)
	if len(found) == 0 {
		return "", nil, fmt.Errorf("--discovery-srv: no members in the SRV records of %q (%s)", domain, strings.Join(faults, "; "))
	}
	var parts []string
	hosts := &hostTable{Resolver: r, known: map[string][]string{}}
	number := 0
	for _, e := range found {
		if slices.ContainsFunc(self.PeerURLs, func(u string) bool { return hosts.same(ctx, e.URL(), u) }) {
			own = append(own, e.URL())
			parts = append(parts, self.Name+"="+e.URL())
			continue
		}
		name := strconv.Itoa(number)
		if number++; name == self.Name {
			name = strconv.Itoa(len(found) + 1) // the number of members so far, plus one
		}
		parts = append(parts, name+"="+e.URL())
	}
	if len(own) == 0 {
		return "", nil, fmt.Errorf("--initial-advertise-peer-urls: %s is none of the members in the SRV records of %q (%s): want the URL of one of them",
			strings.Join(self.PeerURLs, ","), domain, strings.Join(URLs(found), " "))
	}
	return strings.Join(parts, ","), own, nil
}

// PeerURLs returns the peer URLs in the SRV records of a domain, for a caller that is not a member.
func PeerURLs(ctx context.Context, r Resolver, domain, suffix string) ([]string, error) {
	found, faults := lookUp(ctx, r.LookupSRV, memberServices, domain, suffix)
	if len(found) == 0 {
		return nil, fmt.Errorf("--discovery-srv: no members in the SRV records of %q (%s)", domain, strings.Join(faults, "; "))
	}
	return URLs(found), nil
}

// memberServices are the names of the records for members.
var memberServices = []service{{"etcd-server-ssl", "https"}, {"etcd-server", "http"}}

// hostTable caches the addresses of hosts.
type hostTable struct {
	Resolver
	known map[string][]string
}

// same reports whether two URLs, each SCHEME://HOST:PORT, have the same address.
func (t *hostTable) same(ctx context.Context, a, b string) bool {
	schemeA, a, _ := strings.Cut(a, "://")
	schemeB, b, _ := strings.Cut(b, "://")
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || schemeA != schemeB || portA != portB {
		return false
	}
	if strings.EqualFold(hostA, hostB) {
		return true
	}
	addresses := t.addresses(ctx, hostB)
	return slices.ContainsFunc(t.addresses(ctx, hostA), func(x string) bool { return slices.Contains(addresses, x) })
}

func (t *hostTable) addresses(ctx context.Context, host string) []string {
	found, ok := t.known[host]
	if !ok {
		// a host that cannot be resolved has no address in common with another one
		found, _ = t.LookupHost(ctx, host)
		t.known[host] = found
	}
	return found
}
