package config

import (
	"errors"
	"strings"
	"time"

	"cairn/internal/discovery"
)

// DiscoveryV3 has the connection to a discovery service that uses etcd's v3 protocol, and the token
// of the member's cluster there.
type DiscoveryV3 struct {
	Token     string
	Endpoints []string

	DialTimeout, RequestTimeout     time.Duration
	KeepaliveTime, KeepaliveTimeout time.Duration

	Insecure       bool // without TLS, to endpoints without a scheme
	SkipVerify     bool // do not check the service's certificate
	Cert, Key, CA  string
	User, Password string
}

func discoveryV3Defaults() DiscoveryV3 {
	return DiscoveryV3{
		DialTimeout: 2 * time.Second, RequestTimeout: 5 * time.Second, KeepaliveTime: 2 * time.Second, KeepaliveTimeout: 6 * time.Second,
		Insecure: true,
	}
}

// discoveryV3Options are the flags of DiscoveryV3, and the one that all discovery services share.
var discoveryV3Options = []option{
	{
		"discovery-fallback", "Clustering", "exit|proxy", "proxy", "what a start does that comes too late for the cluster of --discovery: exit, or become a proxy (see --proxy); with --discovery-token it exits unless this is given",
		func(c *Config, v string) error {
			action := "exit"
			err := setChoice(&action, v, "exit", "proxy")
			c.Discovery.Fallback = action == "proxy"
			return err
		},
	},
	{
		"discovery-token", "Clustering", "TOKEN", "", "token of the new cluster at a discovery service of etcd's v3 protocol, in place of --initial-cluster; see etcdctl discovery new",
		func(c *Config, v string) error { c.Discovery.V3.Token = v; return nil },
	},
	{
		"discovery-endpoints", "Clustering", "ENDPOINT[,ENDPOINT…]", "", "endpoints of the discovery service, any cluster but the new one",
		func(c *Config, v string) error {
			c.Discovery.V3.Endpoints = nil
			if v != "" {
				for _, e := range strings.Split(v, ",") {
					c.Discovery.V3.Endpoints = append(c.Discovery.V3.Endpoints, strings.TrimSpace(e))
				}
			}
			return nil
		},
	},
	{
		"discovery-dial-timeout", "Clustering", "TIME", "2s", "time for connecting to the discovery service",
		func(c *Config, v string) error { return setDuration(&c.Discovery.V3.DialTimeout, v) },
	},
	{
		"discovery-request-timeout", "Clustering", "TIME", "5s", "time for one request to the discovery service",
		func(c *Config, v string) error { return setDuration(&c.Discovery.V3.RequestTimeout, v) },
	},
	{
		"discovery-keepalive-time", "Clustering", "TIME", "2s", "time between two pings of the discovery service",
		func(c *Config, v string) error { return setDuration(&c.Discovery.V3.KeepaliveTime, v) },
	},
	{
		"discovery-keepalive-timeout", "Clustering", "TIME", "6s", "time for the response to such a ping",
		func(c *Config, v string) error { return setDuration(&c.Discovery.V3.KeepaliveTimeout, v) },
	},
	{
		"discovery-insecure-transport", "Clustering", "", "true", "connect without TLS to endpoints without a scheme",
		func(c *Config, v string) error { return setBool(&c.Discovery.V3.Insecure, v) },
	},
	{
		"discovery-insecure-skip-tls-verify", "Clustering", "", "false", "do not check the certificate of the discovery service (for tests only)",
		func(c *Config, v string) error { return setBool(&c.Discovery.V3.SkipVerify, v) },
	},
	{
		"discovery-cert", "Clustering", "PATH", "", "certificate shown to the discovery service",
		func(c *Config, v string) error { c.Discovery.V3.Cert = v; return nil },
	},
	{
		"discovery-key", "Clustering", "PATH", "", "private key of --discovery-cert",
		func(c *Config, v string) error { c.Discovery.V3.Key = v; return nil },
	},
	{
		"discovery-cacert", "Clustering", "PATH", "", "authorities whose certificates are accepted of the discovery service",
		func(c *Config, v string) error { c.Discovery.V3.CA = v; return nil },
	},
	{
		"discovery-user", "Clustering", "USER[:PASSWORD]", "", "user at the discovery service",
		func(c *Config, v string) error { c.Discovery.V3.User = v; return nil },
	},
	{
		"discovery-password", "Clustering", "PASSWORD", "", "password of --discovery-user; without it, the user's name ends at the first colon",
		func(c *Config, v string) error { c.Discovery.V3.Password = v; return nil },
	},
}

// completeDiscoveryV3 checks the flags of the v3 protocol against each other.
func (c *Config) completeDiscoveryV3(chosen map[string]setting) error {
	d := &c.Discovery.V3
	if s := chosen["discovery-fallback"]; s.value == "" {
		// etcd's defaults: 3.1 to 3.5, which have --discovery, fall back; 3.6 and later exit
		c.Discovery.Fallback = d.Token == ""
	}
	if (d.Token != "") != (len(d.Endpoints) > 0) {
		return errors.New("both --discovery-endpoints and --discovery-token must be set: 'etcdctl discovery new' prints the two")
	}
	if d.Token == "" {
		for _, o := range discoveryV3Options[3:] {
			if s := chosen[o.name]; s.value != "" && s.value != o.preset {
				c.warn("setting has no effect", s.source, "there is no --discovery-token")
			}
		}
		return nil
	}
	if err := discovery.CheckToken(d.Token); err != nil {
		return settingOf(chosen, "discovery-token").wrap(err)
	}
	for _, e := range d.Endpoints {
		if e == "" {
			return errors.New("--discovery-endpoints: contains an empty endpoint: want HOST:PORT[,HOST:PORT…]")
		}
	}
	if (d.Cert == "") != (d.Key == "") {
		return errors.New("--discovery-cert, --discovery-key: want both or neither")
	}
	if d.Password == "" {
		d.User, d.Password, _ = strings.Cut(d.User, ":")
	}
	if d.User == "" && d.Password != "" {
		return errors.New("--discovery-password: there is no --discovery-user")
	}
	return nil
}
