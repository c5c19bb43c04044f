package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// foreign is a setting of etcd, of any version from 3.1 to 3.7, that cairn does not support. A
// value that requests what happens anyway (neutral) is accepted silently, because start scripts
// contain such values. Any other value is accepted with a warning that gives the reason.
type foreign struct {
	boolean  bool
	anyValue bool     // a boolean that etcd accepts with any value
	neutral  []string // values without an effect
	moot     string   // why the setting has no meaning
}

const (
	noWALFiles = "cairn truncates its log itself"
	noBbolt    = "cairn's store is not bbolt"
	noDefrag   = "cairn's store needs no defragmentation"
	leasesKept = "lease deadlines are stored and survive a change of leader anyway"
	ofEtcd04   = "it is of etcd 0.4, and etcd has ignored it since 2.0"
)

// foreigners is the table, by name.
var foreigners = func() map[string]foreign {
	m := maps.Clone(foreignersSince2)
	for _, name := range flagsOfEtcd04 {
		m[name] = foreign{boolean: true, anyValue: true, moot: ofEtcd04}
	}
	return m
}()

// flagsOfEtcd04 are flags that etcd 2.0 and later accept and ignore.
var flagsOfEtcd04 = []string{
	"cluster-active-size", "cluster-remove-delay", "cluster-sync-interval", "config", "force", "max-result-buffer",
	"max-retry-attempts", "peer-election-timeout", "peer-heartbeat-interval", "retry-interval", "snapshot", "v", "vv",
}

var foreignersSince2 = map[string]foreign{
	"socket-reuse-address":                 {boolean: true, neutral: []string{"false"}, moot: "listeners reuse addresses in TIME_WAIT anyway"},
	"max-snapshots":                        {moot: "a snapshot is a view of the store, not a file"},
	"max-wals":                             {moot: noWALFiles},
	"backend-batch-interval":               {moot: noBbolt},
	"backend-batch-limit":                  {moot: noBbolt},
	"backend-bbolt-freelist-type":          {moot: noBbolt},
	"bootstrap-defrag-threshold-megabytes": {moot: noDefrag},
	"initial-election-tick-advance":        {boolean: true, moot: "a single member elects itself at once, and others wait for a leader as long as an election takes"},
	"pre-vote":                             {boolean: true, neutral: []string{"true"}, moot: "cairn always votes in two rounds, so that a member which comes back does not disturb the leader"},
	"v2-deprecation":                       {neutral: []string{"not-yet"}, moot: "v2 is not deprecated here; --enable-v2=false turns it off"},
	"enable-grpc-gateway":                  {boolean: true, neutral: []string{"true"}, moot: "JSON under /v3/ is always served"},
	"wait-cluster-ready-timeout":           {neutral: []string{"5s"}, moot: "clients are served when the member is published"},

	"logger":               {neutral: []string{"zap", "capnslog"}, moot: "--log-format chooses how lines are written"},
	"log-package-levels":   {moot: "etcd's packages are not cairn's; use --log-level"},
	"disable-log-sampling": {boolean: true, neutral: []string{"true"}, moot: "cairn logs every line"},

	"compaction-batch-limit":            {moot: "cairn compacts in slices of time"},
	"compaction-sleep-interval":         {moot: "cairn compacts in slices of time"},
	"downgrade-check-time":              {neutral: []string{"5s"}, moot: "members look at the cluster's version when it changes"},
	"enable-lease-checkpoint":           {boolean: true, moot: leasesKept},
	"enable-lease-checkpoint-persist":   {boolean: true, moot: leasesKept},
	"stop-grpc-service-on-defrag":       {boolean: true, moot: noDefrag},
	"txn-mode-write-with-shared-buffer": {boolean: true, moot: noBbolt},
	"enable-v2v3":                       {moot: "v2 and v3 always show the same keys"},
}

// renamed has earlier names: every setting that etcd once called experimental can be given by that
// name, too, and --log-outputs by its name in etcd 3.1 to 3.4.
var renamed = func() map[string]string {
	m := map[string]string{"log-output": "log-outputs"}
	for _, name := range []string{
		"backend-bbolt-freelist-type", "bootstrap-defrag-threshold-megabytes", "compact-hash-check-enabled", "compact-hash-check-time",
		"compaction-batch-limit", "compaction-sleep-interval", "corrupt-check-time", "distributed-tracing-address",
		"distributed-tracing-instance-id", "distributed-tracing-sampling-rate", "distributed-tracing-service-name",
		"downgrade-check-time", "enable-distributed-tracing", "enable-lease-checkpoint", "enable-lease-checkpoint-persist",
		"enable-v2v3", "initial-corrupt-check", "max-learners", "memory-mlock", "peer-skip-client-san-verification",
		"set-member-localaddr", "snapshot-catchup-entries", "stop-grpc-service-on-defrag", "txn-mode-write-with-shared-buffer",
		"wait-cluster-ready-timeout", "warning-apply-duration", "warning-unary-request-duration", "watch-progress-notify-interval",
	} {
		m["experimental-"+name] = name
	}
	return m
}()

// onlyExperimental are the foreigners that etcd never had without the prefix experimental.
var onlyExperimental = []string{
	"enable-lease-checkpoint", "enable-lease-checkpoint-persist", "enable-v2v3", "stop-grpc-service-on-defrag",
	"txn-mode-write-with-shared-buffer",
}

// gates are etcd's feature gates, by name, with the setting that each sets. A gate whose setting is
// a foreigner has no effect.
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

// applyGates applies --feature-gates.
func (c *Config) applyGates(s setting) error {
	for _, part := range strings.Split(s.value, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		to, known := gates[name]
		var on bool
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
			c.warn("feature gate has no effect", s.source, name)
			continue
		}
		if err := c.applyOne(to, setting{value: fmt.Sprint(on), source: s.source + ": " + name, flag: s.flag}); err != nil {
			return err
		}
	}
	return nil
}

// foreignOf finds a setting of etcd by any of its names, also one whose present name cairn
// supports.
func foreignOf(name string) (foreign, bool) {
	if slices.Contains(onlyExperimental, name) {
		return foreign{}, false
	}
	if to, ok := renamed[name]; ok {
		if o := optionsByName[to]; o != nil {
			return foreign{boolean: o.arg == ""}, true
		}
		name = to
	}
	f, ok := foreigners[name]
	return f, ok
}

// applyForeign accepts a setting that has no effect, with a warning unless its value is neutral.
func (c *Config) applyForeign(name string, s setting) error {
	f, value := foreigners[name], strings.TrimSpace(s.value)
	if f.boolean && !f.anyValue && !slices.Contains([]string{"true", "false"}, value) {
		var b bool
		if err := setBool(&b, value); err != nil {
			return s.wrap(err)
		}
		value = fmt.Sprint(b) // 1, t, TRUE …
	}
	if value == "" || slices.Contains(f.neutral, value) {
		return nil
	}
	c.warn("setting has no effect", s.source, f.moot)
	return nil
}
