package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// unsupported is a setting of etcd, of any version from 3.1 to 3.7, that cairn does not support. A
// value that requests what happens anyway (neutral) is accepted silently, because start scripts
// contain such values. Any other value is accepted with a warning that gives the reason.
type unsupported struct {
	boolean  bool
	anyValue bool     // a boolean that etcd accepts with any value
	neutral  []string // values without an effect
	reason   string   // why the setting has no meaning
}

const (
	noWALFiles = "cairn truncates its log itself"
	noBbolt    = "cairn's store is not bbolt"
	noDefrag   = "cairn's store needs no defragmentation"
	leasesKept = "lease deadlines are stored and survive a change of leader anyway"
	ofEtcd04   = "it is of etcd 0.4, and etcd has ignored it since 2.0"
)

// unsupportedSettings is the table, by name.
var unsupportedSettings = func() map[string]unsupported {
	m := maps.Clone(settingsSinceEtcd2)
	for _, name := range flagsOfEtcd04 {
		m[name] = unsupported{boolean: true, anyValue: true, reason: ofEtcd04}
	}
	return m
}()

// flagsOfEtcd04 are flags that etcd 2.0 and later accept and ignore.
var flagsOfEtcd04 = []string{
	"cluster-active-size", "cluster-remove-delay", "cluster-sync-interval", "config", "force", "max-result-buffer",
	"max-retry-attempts", "peer-election-timeout", "peer-heartbeat-interval", "retry-interval", "snapshot", "v", "vv",
}

// settingsSinceEtcd2 are those of etcd 2.0 and later.
var settingsSinceEtcd2 = map[string]unsupported{
	"socket-reuse-address":                 {boolean: true, neutral: []string{"false"}, reason: "listeners reuse addresses in TIME_WAIT anyway"},
	"max-snapshots":                        {reason: "a snapshot is a view of the store, not a file"},
	"max-wals":                             {reason: noWALFiles},
	"backend-batch-interval":               {reason: noBbolt},
	"backend-batch-limit":                  {reason: noBbolt},
	"backend-bbolt-freelist-type":          {reason: noBbolt},
	"bootstrap-defrag-threshold-megabytes": {reason: noDefrag},
	"initial-election-tick-advance":        {boolean: true, reason: "a single member elects itself at once, and others wait for a leader as long as an election takes"},
	"pre-vote":                             {boolean: true, neutral: []string{"true"}, reason: "cairn always votes in two rounds, so that a member which comes back does not disturb the leader"},
	"v2-deprecation":                       {neutral: []string{"not-yet"}, reason: "v2 is not deprecated here; --enable-v2=false turns it off"},
	"enable-grpc-gateway":                  {boolean: true, neutral: []string{"true"}, reason: "JSON under /v3/ is always served"},
	"wait-cluster-ready-timeout":           {neutral: []string{"5s"}, reason: "clients are served when the member is published"},

	"logger":               {neutral: []string{"zap", "capnslog"}, reason: "--log-format chooses how lines are written"},
	"log-package-levels":   {reason: "etcd's packages are not cairn's; use --log-level"},
	"disable-log-sampling": {boolean: true, neutral: []string{"true"}, reason: "cairn logs every line"},

	"compaction-batch-limit":            {reason: "cairn compacts in slices of time"},
	"compaction-sleep-interval":         {reason: "cairn compacts in slices of time"},
	"downgrade-check-time":              {neutral: []string{"5s"}, reason: "members look at the cluster's version when it changes"},
	"enable-lease-checkpoint":           {boolean: true, reason: leasesKept},
	"enable-lease-checkpoint-persist":   {boolean: true, reason: leasesKept},
	"stop-grpc-service-on-defrag":       {boolean: true, reason: noDefrag},
	"txn-mode-write-with-shared-buffer": {boolean: true, reason: noBbolt},
	"enable-v2v3":                       {reason: "v2 and v3 always show the same keys"},
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

// onlyExperimental are those that etcd never had without the prefix experimental.
var onlyExperimental = []string{
	"enable-lease-checkpoint", "enable-lease-checkpoint-persist", "enable-v2v3", "stop-grpc-service-on-defrag",
	"txn-mode-write-with-shared-buffer",
}

// unsupportedOf finds a setting of etcd by any of its names, also one whose current name cairn
// supports.
func unsupportedOf(name string) (unsupported, bool) {
	if slices.Contains(onlyExperimental, name) {
		return unsupported{}, false
	}
	if to, ok := renamed[name]; ok {
		if o := optionsByName[to]; o != nil {
			return unsupported{boolean: o.arg == ""}, true
		}
		name = to
	}
	u, ok := unsupportedSettings[name]
	return u, ok
}

// applyUnsupported accepts a setting that has no effect, with a warning unless its value is
// neutral.
func (c *Config) applyUnsupported(name string, s setting) error {
	u, value := unsupportedSettings[name], strings.TrimSpace(s.value)
	if u.boolean && !u.anyValue && !slices.Contains([]string{"true", "false"}, value) {
		var b bool
		if err := setBool(&b, value); err != nil {
			return s.wrap(err)
		}
		value = fmt.Sprint(b) // 1, t, TRUE …
	}
	if value == "" || slices.Contains(u.neutral, value) {
		return nil
	}
	c.warn("setting has no effect", s.source, u.reason)
	return nil
}
