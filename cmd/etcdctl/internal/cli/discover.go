package cli

import (
	"context"
	"fmt"
	"net"
	"strings"
)

// LookupSRV finds SRV records; net.DefaultResolver.LookupSRV is one.
type LookupSRV func(ctx context.Context, service, proto, name string) (cname string, addrs []*net.SRV, err error)

// Discover finds a cluster's endpoints in the SRV records of a domain: those of
// _etcd-client-ssl._tcp are reached over TLS, those of _etcd-client._tcp, which count only with
// insecure, without. A name, if given, is put after the services' ("etcd-client-ssl-NAME").
func Discover(ctx context.Context, lookup LookupSRV, domain, name string, insecure bool) ([]string, error) {
	suffix := ""
	if name != "" {
		suffix = "-" + name
	}
	var endpoints, faults []string
	for _, s := range []struct{ service, scheme string }{{"etcd-client-ssl", "https"}, {"etcd-client", "http"}} {
		if s.scheme == "http" && !insecure {
			continue
		}
		_, records, err := lookup(ctx, s.service+suffix, "tcp", domain)
		if err != nil {
			faults = append(faults, err.Error())
			continue
		}
		for _, r := range records {
			endpoints = append(endpoints, fmt.Sprintf("%s://%s", s.scheme, net.JoinHostPort(strings.TrimSuffix(r.Target, "."), fmt.Sprint(r.Port))))
		}
	}
	if len(endpoints) == 0 {
		hint := ""
		if !insecure {
			hint = "; endpoints without TLS count with --insecure-discovery only"
		}
		return nil, fmt.Errorf("--discovery-srv: no endpoints in the SRV records of %q (%s)%s", domain, strings.Join(faults, "; "), hint)
	}
	return endpoints, nil
}
