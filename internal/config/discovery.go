package config

import (
	"fmt"
	"strings"
)

// Discovery is where a member that is about to be created finds the members of its cluster. At most
// one way is set; without any, InitialCluster has the members.
type Discovery struct {
	URL     string // of a discovery service that speaks etcd's v2 protocol
	Proxy   string // URL of an HTTP proxy for requests to it
	SRV     string // domain whose SRV records name the members
	SRVName string // suffix of the service names in these records

	Fallback bool        // become a proxy when the cluster of the discovery service is full
	V3       DiscoveryV3 // a discovery service that speaks etcd's v3 protocol
}

// Enabled reports whether the members must be discovered.
func (d Discovery) Enabled() bool { return d.URL != "" || d.SRV != "" || d.V3.Token != "" }

// fallback returns Fallback as a value of --discovery-fallback.
func (d Discovery) fallback() string {
	if d.Fallback {
		return "proxy"
	}
	return "exit"
}

// discoveryOptions are the flags of Discovery.
var discoveryOptions = []option{
	{
		"discovery", "Clustering", "URL", "", "URL of a discovery service, at which the members of a new cluster register, in place of --initial-cluster",
		func(c *Config, v string) error { c.Discovery.URL = v; return nil },
	},
	{
		"discovery-proxy", "Clustering", "URL", "", "HTTP proxy for requests to the discovery service",
		func(c *Config, v string) error { c.Discovery.Proxy = v; return nil },
	},
	{
		"discovery-srv", "Clustering", "DOMAIN", "", "domain whose SRV records (_etcd-server-ssl._tcp, _etcd-server._tcp) name the members, in place of --initial-cluster",
		func(c *Config, v string) error { c.Discovery.SRV = v; return nil },
	},
	{
		"discovery-srv-name", "Clustering", "SUFFIX", "", "suffix of the service names in the SRV records, as in _etcd-server-SUFFIX._tcp",
		func(c *Config, v string) error { c.Discovery.SRVName = v; return nil },
	},
}

// completeDiscovery checks that at most one way to find the members is set.
func (c *Config) completeDiscovery(chosen map[string]setting) error {
	for _, of := range [][2]string{{"discovery-srv-name", "discovery-srv"}, {"discovery-proxy", "discovery"}} {
		if s := chosen[of[0]]; s.value != "" && chosen[of[1]].value == "" {
			c.warn("setting has no effect", s.source, "there is no --"+of[1])
		}
	}
	if err := c.completeDiscoveryV3(chosen); err != nil {
		return err
	}
	if !c.Discovery.Enabled() {
		return nil
	}
	var given []string
	for _, name := range []string{"initial-cluster", "discovery", "discovery-endpoints", "discovery-srv"} {
		if s := chosen[name]; s.value != "" {
			given = append(given, s.source)
		}
	}
	if len(given) > 1 {
		// begins with etcd's text
		return fmt.Errorf(`multiple discovery or bootstrap flags are set. Choose one of "initial-cluster", "discovery", "discovery-endpoints" or "discovery-srv": given are %s`,
			strings.Join(given, " and "))
	}
	return nil
}

// Discovered returns a copy with the members that were found: cluster in the form of
// --initial-cluster, the URLs that this member has there, and the token of --initial-cluster-token.
func (c *Config) Discovered(cluster string, own []string, token string) (*Config, error) {
	urls, err := ParseURLs(strings.Join(own, ","))
	if err != nil {
		return nil, err
	}
	d := *c
	d.InitialCluster, d.InitialAdvertisePeerURLs, d.InitialClusterToken = cluster, urls, token
	return &d, nil
}
