package config

import (
	"maps"
	"slices"
	"strings"
)

// resolve returns the chosen settings by the options' current names, each once. Settings that stand
// for others, such as --debug, set those as well, unless they are given: so what Effective shows is
// what is in force, and a file with it starts the same member.
func (c *Config) resolve(chosen map[string]setting) (map[string]setting, error) {
	resolved := maps.Clone(chosen)
	for _, name := range emptyIsDefault {
		if s, given := chosen[name]; given && strings.TrimSpace(s.value) == "" {
			c.warn("setting is empty: its default counts", s.source, "")
			if delete(resolved, name); strings.HasSuffix(name, "-urls") { // counts as given
				resolved[name] = setting{value: optionsByName[name].preset, source: s.source, flag: s.flag}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(chosen)) {
		current, ok := renamed[name]
		if !ok {
			continue
		}
		s := chosen[name]
		if now, both := chosen[current]; both {
			s = c.decide(s, now)
		}
		delete(resolved, name)
		resolved[current] = s
	}
	implied := func(name, value string, by setting) {
		if _, given := resolved[name]; !given {
			resolved[name] = setting{value: value, source: by.source, flag: by.flag}
		}
	}
	if s := resolved["debug"]; isTrue(strings.TrimSpace(s.value)) {
		implied("log-level", "debug", s)
	}
	for _, prefix := range []string{"", "peer-"} {
		if s := resolved[prefix+"ca-file"]; s.value != "" {
			implied(prefix+"trusted-ca-file", s.value, s)
			implied(prefix+"client-cert-auth", "true", s)
		}
	}
	return resolved, c.resolveGates(resolved)
}

// emptyIsDefault are options with which etcd starts when their flag has an empty value, as from a
// script whose variable is not set. (A variable, or a key of a file, that is empty is not given.)
var emptyIsDefault = []string{
	"data-dir", "metrics", "auto-compaction-retention", "listen-peer-urls", "initial-advertise-peer-urls", "advertise-client-urls",
}

// decide returns the value that counts of an option that is given by an earlier name and by its
// current one: a flag goes before a variable, and otherwise the earlier name before the current
// one, as in etcd 3.6.
func (c *Config) decide(earlier, current setting) setting {
	counts, other := earlier, current
	if current.flag && !earlier.flag {
		counts, other = current, earlier
	}
	if strings.TrimSpace(counts.value) != strings.TrimSpace(other.value) {
		c.warn("setting has no effect", other.source, counts.source+" is given as well")
	}
	return counts
}
