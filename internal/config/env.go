package config

import (
	"slices"
	"strings"
)

const envPrefix = "ETCD_"

// VariableOf returns the environment variable of a flag.
func VariableOf(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// notSettings are variables with etcd's prefix that are not a flag's: its own switch for odd
// processors, and what Kubernetes and Docker set in every container next to a service called etcd.
func notSettings(variable string) bool {
	if variable == "ETCD_UNSUPPORTED_ARCH" {
		return true
	}
	for _, part := range []string{"ETCD_SERVICE_", "ETCD_PORT_", "ETCD_ENV_"} {
		if strings.HasPrefix(variable, part) {
			return true
		}
	}
	return variable == "ETCD_PORT"
}

// parseEnvironment picks the settings out of an environment. An empty variable counts as none, as
// in etcd. An unknown one is a warning: it may be a misspelt setting. Its value is not repeated,
// for it could be a secret.
func (c *Config) parseEnvironment(environ []string) map[string]setting {
	found := map[string]setting{}
	for _, line := range slices.Sorted(slices.Values(environ)) {
		variable, value, _ := strings.Cut(line, "=")
		if !strings.HasPrefix(variable, envPrefix) || value == "" || notSettings(variable) {
			continue
		}
		name := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(variable, envPrefix), "_", "-"))
		_, known := isBoolean(name)
		if !known || VariableOf(name) != variable || name == "help" || name == "version" {
			c.warn("unrecognised environment variable", variable, "")
			continue
		}
		found[name] = setting{value: value, source: variable}
	}
	return found
}
