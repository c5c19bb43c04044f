package config

import (
	"fmt"
	"slices"
	"strings"
)

// foreign is a setting of etcd, of any version from 3.1 to 3.7, that cairn does not follow. One
// that says what happens anyway (neutral) passes, because start scripts write such things out; one
// that cairn's design leaves no meaning (moot) is a warning; any other is an error, so that nobody
// believes in a setting that does nothing.
type foreign struct {
	boolean bool
	neutral []string // values that change nothing
	moot    string   // why the setting has no meaning, or ""
	instead string   // the way out, or ""
}

const (
	noWALFiles  = "cairn truncates its log itself"
	noBbolt     = "cairn's store is not bbolt"
	noTLSYet    = "serve plain http behind a proxy that does TLS"
	noDiscovery = "list the members in --initial-cluster"
	noV2Proxy   = "point clients at the members themselves"
	noTracing   = "look at /metrics or at --enable-pprof"
)

// foreigners is the table, by name.
var foreigners = map[string]foreign{
	"wal-dir":                     {instead: "the log lives below --data-dir, where a mount or a symbolic link can take its place"},
	"listen-client-http-urls":     {instead: "HTTP and gRPC share --listen-client-urls"},
	"socket-reuse-address":        {boolean: true, neutral: []string{"false"}, moot: "listeners reuse addresses in TIME_WAIT anyway"},
	"memory-mlock":                {boolean: true, neutral: []string{"false"}},
	"max-snapshots":               {moot: "a snapshot is a view of the store, not a file"},
	"max-wals":                    {moot: noWALFiles},
	"backend-batch-interval":      {moot: noBbolt},
	"backend-batch-limit":         {moot: noBbolt},
	"backend-bbolt-freelist-type": {moot: noBbolt},
	"bootstrap-defrag-threshold-megabytes": {
		moot: "cairn's store needs no defragmentation",
	},
	"initial-election-tick-advance": {boolean: true, moot: "a single member elects itself at once, and others wait for a leader as long as an election takes"},
	"pre-vote":                      {boolean: true, neutral: []string{"true"}, instead: "cairn always votes in two rounds: leave it out"},
	"v2-deprecation":                {neutral: []string{"not-yet"}, instead: "v2 is not deprecated here; --enable-v2=false turns it off"},

	"discovery":                          {instead: noDiscovery},
	"discovery-fallback":                 {neutral: []string{"exit", "proxy"}, instead: noDiscovery},
	"discovery-proxy":                    {instead: noDiscovery},
	"discovery-srv":                      {instead: noDiscovery},
	"discovery-srv-name":                 {instead: noDiscovery},
	"discovery-token":                    {instead: noDiscovery},
	"discovery-endpoints":                {instead: noDiscovery},
	"discovery-dial-timeout":             {neutral: []string{"2s"}, instead: noDiscovery},
	"discovery-request-timeout":          {neutral: []string{"5s"}, instead: noDiscovery},
	"discovery-keepalive-time":           {neutral: []string{"2s"}, instead: noDiscovery},
	"discovery-keepalive-timeout":        {neutral: []string{"6s"}, instead: noDiscovery},
	"discovery-insecure-transport":       {boolean: true, neutral: []string{"true"}, instead: noDiscovery},
	"discovery-insecure-skip-tls-verify": {boolean: true, neutral: []string{"false"}, instead: noDiscovery},
	"discovery-cert":                     {instead: noDiscovery},
	"discovery-key":                      {instead: noDiscovery},
	"discovery-cacert":                   {instead: noDiscovery},
	"discovery-user":                     {instead: noDiscovery},
	"discovery-password":                 {instead: noDiscovery},

	"cert-file":                         {instead: noTLSYet},
	"key-file":                          {instead: noTLSYet},
	"client-cert-file":                  {instead: noTLSYet},
	"client-key-file":                   {instead: noTLSYet},
	"ca-file":                           {instead: noTLSYet},
	"client-cert-auth":                  {boolean: true, neutral: []string{"false"}, instead: noTLSYet},
	"client-crl-file":                   {instead: noTLSYet},
	"client-cert-allowed-hostname":      {instead: noTLSYet},
	"trusted-ca-file":                   {instead: noTLSYet},
	"auto-tls":                          {boolean: true, neutral: []string{"false"}, instead: noTLSYet},
	"peer-cert-file":                    {instead: noTLSYet},
	"peer-key-file":                     {instead: noTLSYet},
	"peer-client-cert-file":             {instead: noTLSYet},
	"peer-client-key-file":              {instead: noTLSYet},
	"peer-ca-file":                      {instead: noTLSYet},
	"peer-client-cert-auth":             {boolean: true, neutral: []string{"false"}, instead: noTLSYet},
	"peer-trusted-ca-file":              {instead: noTLSYet},
	"peer-cert-allowed-cn":              {instead: noTLSYet},
	"peer-cert-allowed-hostname":        {instead: noTLSYet},
	"peer-auto-tls":                     {boolean: true, neutral: []string{"false"}, instead: noTLSYet},
	"peer-crl-file":                     {instead: noTLSYet},
	"peer-skip-client-san-verification": {boolean: true, neutral: []string{"false"}, instead: noTLSYet},
	"self-signed-cert-validity":         {neutral: []string{"1"}, instead: noTLSYet},
	"cipher-suites":                     {instead: noTLSYet},
	"tls-min-version":                   {neutral: []string{"TLS1.2"}, instead: noTLSYet},
	"tls-max-version":                   {instead: noTLSYet},

	"logger":                     {neutral: []string{"zap", "capnslog"}, moot: "--log-format chooses how lines are written"},
	"debug":                      {boolean: true, neutral: []string{"false"}, instead: "use --log-level=debug"},
	"log-package-levels":         {instead: "use --log-level"},
	"enable-log-rotation":        {boolean: true, neutral: []string{"false"}, instead: "let logrotate or systemd's journal do it"},
	"log-rotation-config-json":   {moot: "there is no log rotation"},
	"warning-apply-duration":     {neutral: []string{"100ms"}},
	"enable-distributed-tracing": {boolean: true, neutral: []string{"false"}, instead: noTracing},
	"distributed-tracing-address": {
		neutral: []string{"localhost:4317"}, instead: noTracing,
	},
	"distributed-tracing-service-name":  {neutral: []string{"etcd"}, instead: noTracing},
	"distributed-tracing-instance-id":   {instead: noTracing},
	"distributed-tracing-sampling-rate": {neutral: []string{"0"}, instead: noTracing},
	"warning-unary-request-duration":    {neutral: []string{"300ms"}},

	"proxy":                  {neutral: []string{"off"}, instead: noV2Proxy},
	"proxy-failure-wait":     {neutral: []string{"5000"}, instead: noV2Proxy},
	"proxy-refresh-interval": {neutral: []string{"30000"}, instead: noV2Proxy},
	"proxy-dial-timeout":     {neutral: []string{"1000"}, instead: noV2Proxy},
	"proxy-write-timeout":    {neutral: []string{"5000"}, instead: noV2Proxy},
	"proxy-read-timeout":     {neutral: []string{"0"}, instead: noV2Proxy},

	"feature-gates":             {},
	"compaction-batch-limit":    {moot: "cairn compacts in slices of time"},
	"compaction-sleep-interval": {moot: "cairn compacts in slices of time"},
	"downgrade-check-time":      {neutral: []string{"5s"}},
	"enable-lease-checkpoint": {
		boolean: true, moot: "lease deadlines are stored and survive a change of leader anyway",
	},
	"enable-lease-checkpoint-persist": {
		boolean: true, moot: "lease deadlines are stored and survive a change of leader anyway",
	},
	"stop-grpc-service-on-defrag":       {boolean: true, moot: "cairn's store needs no defragmentation"},
	"txn-mode-write-with-shared-buffer": {boolean: true, moot: noBbolt},
	"enable-v2v3":                       {instead: "v2 and v3 always show the same keys"},

	"unsafe-no-fsync": {boolean: true, neutral: []string{"false"}, instead: "a write is never acknowledged before it is on disk"},
}

// renamed are earlier names. Every setting that etcd once called experimental is known by that name
// too.
var renamed = func() map[string]string {
	m := map[string]string{"experimental-snapshot-catchup-entries": "snapshot-catchup-entries"}
	for _, name := range []string{
		"backend-bbolt-freelist-type", "bootstrap-defrag-threshold-megabytes", "compact-hash-check-enabled", "compact-hash-check-time",
		"compaction-batch-limit", "compaction-sleep-interval", "corrupt-check-time", "distributed-tracing-address",
		"distributed-tracing-instance-id", "distributed-tracing-sampling-rate", "distributed-tracing-service-name",
		"downgrade-check-time", "enable-distributed-tracing", "enable-lease-checkpoint", "enable-lease-checkpoint-persist",
		"enable-v2v3", "initial-corrupt-check", "max-learners", "memory-mlock", "peer-skip-client-san-verification",
		"stop-grpc-service-on-defrag", "txn-mode-write-with-shared-buffer", "warning-apply-duration",
		"warning-unary-request-duration", "watch-progress-notify-interval",
	} {
		m["experimental-"+name] = name
	}
	return m
}()

// onlyExperimental are the foreigners that etcd never had under their plain name.
var onlyExperimental = []string{
	"enable-lease-checkpoint", "enable-lease-checkpoint-persist", "enable-v2v3", "stop-grpc-service-on-defrag", "txn-mode-write-with-shared-buffer",
}

// foreignOf finds a setting of etcd by any of its names. One whose present name cairn supports is
// found, too.
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

// applyForeign passes over a setting that changes nothing, and refuses any other.
func (c *Config) applyForeign(name string, s setting) error {
	f, value := foreigners[name], strings.TrimSpace(s.value)
	if f.boolean && !slices.Contains([]string{"true", "false"}, value) {
		var b bool
		if err := setBool(&b, value); err != nil {
			return s.wrap(err)
		}
		value = fmt.Sprint(b) // 1, t, TRUE …
	}
	switch {
	case value == "" || slices.Contains(f.neutral, value):
		return nil
	case f.moot != "":
		c.warn("setting has no effect", s.source, f.moot)
		return nil
	case len(f.neutral) > 0 && !f.boolean:
		return fmt.Errorf("%s: %q is not supported by this version of cairn; %s", s.source, value, wayOut(f, "leave it out, or give "+strings.Join(f.neutral, " or ")))
	}
	return fmt.Errorf("%s: not supported by this version of cairn; %s", s.source, wayOut(f, "leave it out"))
}

func wayOut(f foreign, otherwise string) string {
	if f.instead != "" {
		return f.instead
	}
	return otherwise
}
