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

// notSettings are variables with etcd's prefix that are not a flag's: its own switch for
// unsupported processors, and those that Kubernetes and Docker set in every container next to a
// service called etcd.
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

// parseEnvironment extracts the settings from an environment. An empty variable counts as unset, as
// in etcd. An unknown one causes a warning: it may be a misspelt setting. Its value is not printed,
// because it could be a secret.
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
