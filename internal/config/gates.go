package config

import (
	"fmt"
	"maps"
	"strings"
)

// gates are etcd's feature gates, by name, with the setting that each sets. A gate whose setting is
// unsupported, or that has none, has no effect.
var gates = map[string]string{
	"CompactHashCheck":             "compact-hash-check-enabled",
	"InitialCorruptCheck":          "initial-corrupt-check",
	"LeaseCheckpoint":              "enable-lease-checkpoint",
	"LeaseCheckpointPersist":       "enable-lease-checkpoint-persist",
	"SetMemberLocalAddr":           "set-member-localaddr",
	"StopGRPCServiceOnDefrag":      "stop-grpc-service-on-defrag",
	"TxnModeWriteWithSharedBuffer": "txn-mode-write-with-shared-buffer",
	"FastLeaseKeepAlive":           "",
	"PriorityRequest":              "",
	"AllAlpha":                     "",
	"AllBeta":                      "",
}

// gatesWithoutSetting has the reasons why these have no effect.
var gatesWithoutSetting = map[string]string{
	"FastLeaseKeepAlive": "the renewal of a lease waits for no disk anyway",
	"PriorityRequest":    "it changes the order of requests inside etcd's server",
	"AllAlpha":           "give the gates one by one",
	"AllBeta":            "give the gates one by one",
}

// resolveGates adds the settings of the gates in --feature-gates to resolved. A gate that
// contradicts its own setting is an error, as in etcd.
func (c *Config) resolveGates(resolved map[string]setting) error {
	s := resolved["feature-gates"]
	given := maps.Clone(resolved)
	for _, part := range strings.Split(s.value, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		to, known := gates[name]
		var on, own bool
		switch {
		case !ok:
			return s.wrap(fmt.Errorf("missing bool value for feature gate %s: want NAME=true", name))
		case !known:
			return s.wrap(fmt.Errorf("unrecognized feature gate: %s", name))
		}
		if err := setBool(&on, strings.TrimSpace(value)); err != nil {
			return s.wrap(fmt.Errorf("invalid value of %s: %w", name, err))
		}
		if to == "" {
			if on {
				c.warn("feature gate has no effect", s.source, name+": "+gatesWithoutSetting[name])
			}
			continue
		}
		if other, ok := given[to]; ok && setBool(&own, strings.TrimSpace(other.value)) == nil && own != on {
			return fmt.Errorf("cannot specify both flags: %s=%v and %s=%s=%v: want %s alone", other.source, own, s.source, name, on, s.source)
		}
		resolved[to] = setting{value: fmt.Sprint(on), source: s.source + ": " + name, flag: s.flag}
	}
	return nil
}
