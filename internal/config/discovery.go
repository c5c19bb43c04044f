package config

import (
	"fmt"
	"strings"
)

// Discovery says where a member that is about to be created finds the members of its cluster. At
// most one way is set; without any, InitialCluster has the members.
type Discovery struct {
	SRV     string // domain whose SRV records name the members
	SRVName string // suffix of the service names in these records
}

// enabled reports whether the members are to be discovered.
func (d Discovery) enabled() bool { return d.SRV != "" }

// discoveryOptions are the flags of Discovery.
var discoveryOptions = []option{
	{
		"discovery-srv", "Clustering", "DOMAIN", "", "domain whose SRV records (_etcd-server-ssl._tcp, _etcd-server._tcp) name the members, in place of --initial-cluster",
		func(c *Config, v string) error { c.Discovery.SRV = v; return nil },
	},
	{
		"discovery-srv-name", "Clustering", "SUFFIX", "", "suffix of the service names in the SRV records, as in _etcd-server-SUFFIX._tcp",
		func(c *Config, v string) error { c.Discovery.SRVName = v; return nil },
	},
}

// completeDiscovery checks that there is one way to find the members.
func (c *Config) completeDiscovery(chosen map[string]setting) error {
	if !c.Discovery.enabled() {
		if s, ok := chosen["discovery-srv-name"]; ok && s.value != "" {
			c.warn("setting has no effect", s.source, "there is no --discovery-srv")
		}
		return nil
	}
	if given, ok := chosen["initial-cluster"]; ok && given.value != "" {
		// begins with etcd's text
		return fmt.Errorf(`multiple discovery or bootstrap flags are set. Choose one of "initial-cluster", "discovery" or "discovery-srv": leave out %s or %s`,
			given.source, chosen["discovery-srv"].source)
	}
	return nil
}

// Discovered returns a copy that has the members which were found: cluster in the form of
// --initial-cluster, and the URLs that this member has there.
func (c *Config) Discovered(cluster string, own []string) (*Config, error) {
	urls, err := ParseURLs(strings.Join(own, ","))
	if err != nil {
		return nil, err
	}
	d := *c
	d.InitialCluster, d.InitialAdvertisePeerURLs = cluster, urls
	return &d, nil
}
