package discovery

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// recordsMax is the maximum number of SRV records that are used per name. A cluster has a handful.
const recordsMax = 256

// LookupSRV finds SRV records; net.DefaultResolver.LookupSRV implements it.
type LookupSRV func(ctx context.Context, service, proto, name string) (cname string, addrs []*net.SRV, err error)

// Endpoint is a server in an SRV record.
type Endpoint struct {
	Scheme   string // "http" or "https"
	Host     string // HOST:PORT
	Priority uint16 // endpoints of the lowest number are used first
	Weight   uint16 // share of the connections among endpoints of one priority
}

// URL returns the endpoint as SCHEME://HOST:PORT.
func (e Endpoint) URL() string { return e.Scheme + "://" + e.Host }

// service is one DNS name and the scheme of its servers.
type service struct{ name, scheme string }

// Clients returns the endpoints for clients of the cluster of a domain: those with TLS, and with
// insecure also those without. If suffix is not empty, it is appended to the services' names
// ("etcd-client-ssl-SUFFIX").
func Clients(ctx context.Context, lookup LookupSRV, domain, suffix string, insecure bool) ([]Endpoint, error) {
	services := []service{{"etcd-client-ssl", "https"}}
	hint := "; endpoints without TLS count with --insecure-discovery only"
	if insecure {
		services, hint = append(services, service{"etcd-client", "http"}), ""
	}
	endpoints, faults := lookUp(ctx, lookup, services, domain, suffix)
	if len(endpoints) == 0 {
		return nil, fmt.Errorf("--discovery-srv: no endpoints in the SRV records of %q (%s)%s", domain, strings.Join(faults, "; "), hint)
	}
	return endpoints, nil
}

// URLs returns the URLs of endpoints.
func URLs(endpoints []Endpoint) []string {
	urls := make([]string, len(endpoints))
	for i, e := range endpoints {
		urls[i] = e.URL()
	}
	return urls
}

// lookUp returns the endpoints of all services, and the reasons why some services have none. Usable
// records count even if the look-up reports an error for others.
func lookUp(ctx context.Context, lookup LookupSRV, services []service, domain, suffix string) (endpoints []Endpoint, faults []string) {
	for _, s := range services {
		name := s.name
		if suffix != "" {
			name += "-" + suffix
		}
		_, records, err := lookup(ctx, name, "tcp", domain)
		if err != nil {
			faults = append(faults, err.Error())
		}
		if len(records) > recordsMax {
			faults = append(faults, fmt.Sprintf("_%s._tcp.%s has %d records: the first %d are used", name, domain, len(records), recordsMax))
			records = records[:recordsMax]
		}
		for _, r := range records {
			host := strings.TrimSuffix(r.Target, ".")
			if !isHost(host) || r.Port == 0 {
				faults = append(faults, fmt.Sprintf("_%s._tcp.%s has an unusable record %q port %d", name, domain, r.Target, r.Port))
				continue
			}
			endpoints = append(endpoints, Endpoint{
				Scheme: s.scheme, Host: net.JoinHostPort(host, strconv.Itoa(int(r.Port))), Priority: r.Priority, Weight: r.Weight,
			})
		}
	}
	return endpoints, faults
}

// isHost reports whether a record's target is a valid host name. A single dot, which in RFC 2782
// means "no such service", is not.
func isHost(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}
