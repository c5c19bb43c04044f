package config

import (
	"fmt"
	"maps"
	"slices"
)

// discoveryKeys are the keys of etcd's section discovery-config, by their path, with the options
// that they are. The section is a client's configuration, whose names are not those of the flags.
var discoveryKeys = map[string]string{
	"token":                                  "discovery-token",
	"client.endpoints":                       "discovery-endpoints",
	"client.dial-timeout":                    "discovery-dial-timeout",
	"client.request-timeout":                 "discovery-request-timeout",
	"client.keepalive-time":                  "discovery-keepalive-time",
	"client.keepalive-timeout":               "discovery-keepalive-timeout",
	"client.secure.cert":                     "discovery-cert",
	"client.secure.key":                      "discovery-key",
	"client.secure.cacert":                   "discovery-cacert",
	"client.secure.insecure-transport":       "discovery-insecure-transport",
	"client.secure.insecure-skip-tls-verify": "discovery-insecure-skip-tls-verify",
	"client.auth.username":                   "discovery-user",
	"client.auth.password":                   "discovery-password",
}

const discoverySection = "discovery-config"

// addDiscovery adds the keys of the section discovery-config, or of one of its subsections, whose
// path is below.
func (c *Config) addDiscovery(found map[string]setting, source, below string, value any) error {
	section, ok := value.(map[string]any)
	if !ok && value != nil {
		return fmt.Errorf("%s: want the section's keys below it", source)
	}
	for _, key := range slices.Sorted(maps.Keys(section)) {
		path, at := below+key, source+"."+key
		switch path {
		case "client", "client.secure", "client.auth":
			if err := c.addDiscovery(found, at, path+".", section[key]); err != nil {
				return err
			}
			continue
		}
		name, known := discoveryKeys[path]
		if !known {
			c.warn("unrecognised key in configuration file", at, "")
			continue
		}
		if err := c.addKey(found, name, at, section[key]); err != nil {
			return err
		}
	}
	return nil
}
