package config

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"
)

// option is a row of the table from which flags, variables, the file's keys and the help text are
// derived.
type option struct {
	name    string
	section string
	arg     string // the value's placeholder in the help text; "" makes it a boolean
	preset  string // the default in the help text
	usage   string
	set     func(c *Config, value string) error
}

// sections are those of the help text, in order.
var sections = []string{"Member", "Clustering", "Security", "Storage", "Limits", "Access", "Auth", "Monitoring", "Logging", "Proxy", "Unsafe", "General"}

// Defaults that etcd documents, except --auto-compaction-retention: cairn's default (etcd's is 0)
// keeps an unattended store from growing without limit.
const (
	defaultName          = "default"
	defaultListenClient  = "http://localhost:2379"
	defaultListenPeer    = "http://localhost:2380"
	defaultRetention     = "1h"
	defaultSnapshotCount = 10000
	defaultCatchup       = 5000
	defaultTokenTTL      = 300 // seconds
)

func defaults() *Config {
	return &Config{
		Name:                     defaultName,
		ListenClientURLs:         mustURLs(defaultListenClient),
		AdvertiseClientURLs:      mustURLs(defaultListenClient),
		ListenPeerURLs:           mustURLs(defaultListenPeer),
		InitialAdvertisePeerURLs: mustURLs(defaultListenPeer),
		InitialClusterToken:      "etcd-cluster",
		InitialClusterState:      ClusterNew,
		HeartbeatInterval:        100 * time.Millisecond,
		ElectionTimeout:          time.Second,
		SnapshotCount:            defaultSnapshotCount,
		SnapshotCatchupEntries:   defaultCatchup,
		RequestBytesMax:          1.5 * 1024 * 1024,
		TxnOpsMax:                128,
		WatchProgressInterval:    10 * time.Minute,
		CompactHashCheck:         true,
		CompactHashCheckTime:     time.Minute,
		AuthTokenTTL:             defaultTokenTTL * time.Second,
		BcryptCost:               10,
		GRPCKeepaliveMinTime:     5 * time.Second,
		GRPCKeepaliveInterval:    2 * time.Hour,
		GRPCKeepaliveTimeout:     20 * time.Second,
		EnableV2:                 true,
		EnableConsole:            true,
		StrictReconfigCheck:      true,
		LearnersMax:              1,
		LogLevel:                 slog.LevelInfo,
		LogFormat:                LogText,
		LogOutputs:               []string{"stderr"},
		SelfSignedYears:          1,
		RaftReadTimeout:          raftTimeoutMin,
		RaftWriteTimeout:         raftTimeoutMin,
		SlowApply:                defaultSlowApply,
		SlowRequest:              defaultSlowRequest,
		Tracing:                  Tracing{Address: defaultTracingAddress, ServiceName: defaultTracingService},
		tlsMin:                   "TLS1.2",
		Discovery:                Discovery{V3: discoveryV3Defaults()},
		Proxy:                    proxyDefaults(),
	}
}

const urlsArg = "URL[,URL…]"

// options is the table. Settings without a set function depend on others and are read by complete
// or resolve; config-file, help and version are read before everything else.
var options = append([]option{
	{
		"name", "Member", "NAME", defaultName, "name of this member, for people",
		func(c *Config, v string) error { return setName(&c.Name, v) },
	},
	{
		"data-dir", "Member", "PATH", "NAME.etcd", "directory that holds all data of this member",
		func(c *Config, v string) error { return setText(&c.DataDir, v) },
	},
	{
		"listen-client-urls", "Member", urlsArg, defaultListenClient, "addresses to serve clients on",
		func(c *Config, v string) error { return setURLs(&c.ListenClientURLs, v) },
	},
	{
		"listen-peer-urls", "Member", urlsArg, defaultListenPeer, "addresses to serve other members on",
		func(c *Config, v string) error { return setURLs(&c.ListenPeerURLs, v) },
	},
	{
		"listen-client-http-urls", "Member", urlsArg, "", "addresses to serve HTTP without gRPC on; --listen-client-urls then serve gRPC without HTTP",
		func(c *Config, v string) error { return setURLs(&c.ListenClientHTTPURLs, v) },
	},
	{
		"wal-dir", "Member", "PATH", "", "directory for the log, for example on a disk of its own; without it below --data-dir",
		func(c *Config, v string) error { c.WALDir = v; return nil },
	},
	{
		"memory-mlock", "Member", "", "false", "keep the process in memory, so that it is never swapped out",
		func(c *Config, v string) error { return setBool(&c.LockMemory, v) },
	},
	{
		"heartbeat-interval", "Member", "MS", "100", "milliseconds between a leader's heartbeats",
		func(c *Config, v string) error { return setMilliseconds(&c.HeartbeatInterval, v) },
	},
	{
		"election-timeout", "Member", "MS", "1000", "milliseconds without a heartbeat until an election; at least 5 heartbeats",
		func(c *Config, v string) error { return setMilliseconds(&c.ElectionTimeout, v) },
	},
	{
		"enable-v2", "Member", "", "true", "serve etcd's v2 API beside v3; both show the same keys",
		func(c *Config, v string) error { return setBool(&c.EnableV2, v) },
	},
	{
		"advertise-client-urls", "Clustering", urlsArg, defaultListenClient, "where clients reach this member; required with --listen-client-urls",
		func(c *Config, v string) error { return setURLs(&c.AdvertiseClientURLs, v) },
	},
	{
		"initial-advertise-peer-urls", "Clustering", urlsArg, defaultListenPeer, "where other members reach this one",
		func(c *Config, v string) error { return setURLs(&c.InitialAdvertisePeerURLs, v) },
	},
	{
		"initial-cluster", "Clustering", "NAME=URL[,NAME=URL…]", "NAME=PEER-URL", "the members that found the cluster, with their peer URLs",
		func(c *Config, v string) error { return setText(&c.InitialCluster, v) },
	},
	{
		"initial-cluster-state", "Clustering", "new|existing", string(ClusterNew), "found a cluster, or join one",
		func(c *Config, v string) error {
			return setChoice(&c.InitialClusterState, v, ClusterNew, ClusterExisting)
		},
	},
	{
		"initial-cluster-token", "Clustering", "TEXT", "etcd-cluster", "distinguishes clusters with the same URLs",
		func(c *Config, v string) error { c.InitialClusterToken = v; return nil },
	},
	{
		"strict-reconfig-check", "Clustering", "", "true", "refuse membership changes after which the cluster would have no quorum",
		func(c *Config, v string) error { return setBool(&c.StrictReconfigCheck, v) },
	},
	{
		"max-learners", "Clustering", "N", "1", "learners that the cluster may have at a time",
		func(c *Config, v string) error { return setPositive(&c.LearnersMax, v) },
	},
	{
		"learner-auto-promote", "Clustering", "", "false", "promote a learner to a voter when it has caught up",
		func(c *Config, v string) error { return setBool(&c.LearnerAutoPromote, v) },
	},
	{
		"snapshot-count", "Storage", "N", "10000", "log entries between two snapshots",
		func(c *Config, v string) error { return setCount(&c.SnapshotCount, v, defaultSnapshotCount) },
	},
	{
		"snapshot-catchup-entries", "Storage", "N", "5000", "maximum number of log entries kept for members that are away; fewer if they exceed 64 MiB and an eighth of the state",
		func(c *Config, v string) error { return setCount(&c.SnapshotCatchupEntries, v, defaultCatchup) },
	},
	{
		"quota-backend-bytes", "Storage", "BYTES", "0", "size of the store from which on writes that add data are refused, for example 8GiB; 0 or less is none, the disk is the limit",
		func(c *Config, v string) error { return setBytes(&c.QuotaBackendBytes, v) },
	},
	{
		"auto-compaction-mode", "Storage", "periodic|revision", "periodic", "keep history for a time or for a number of revisions", nil,
	},
	{
		"auto-compaction-retention", "Storage", "LENGTH", defaultRetention, "history to keep: 30m, 1h, or a number of hours; in revision mode a number of revisions; 0 is all", nil,
	},
	{
		"corrupt-check-time", "Storage", "TIME", "0", "time between two comparisons of the members' data; 0 is never",
		func(c *Config, v string) error { return setInterval(&c.CorruptCheckTime, v) },
	},
	{
		"compact-hash-check-enabled", "Storage", "", "true", "compare the members' data after a compaction",
		func(c *Config, v string) error { return setBool(&c.CompactHashCheck, v) },
	},
	{
		"compact-hash-check-time", "Storage", "TIME", "1m", "time between two checks for a new compaction",
		func(c *Config, v string) error { return setDuration(&c.CompactHashCheckTime, v) },
	},
	{
		"initial-corrupt-check", "Storage", "", "false", "compare this member's data with the others' before it serves",
		func(c *Config, v string) error { return setBool(&c.InitialCorruptCheck, v) },
	},
	{
		"max-request-bytes", "Limits", "BYTES", "1572864", "size of the largest request, for example 2MiB",
		func(c *Config, v string) error { return setPositiveBytes(&c.RequestBytesMax, v) },
	},
	{
		"max-txn-ops", "Limits", "N", "128", "operations in one transaction",
		func(c *Config, v string) error { return setPositive(&c.TxnOpsMax, v) },
	},
	{
		"memory-limit", "Limits", "BYTES", "0", "memory that the process may use, such as 1GiB; 0 is what its cgroup or the machine has",
		func(c *Config, v string) error { return setMemory(&c.MemoryLimit, v) },
	},
	{
		"watch-progress-notify-interval", "Limits", "TIME", "10m", "time between progress notifications of a watch without events; 0 is the default",
		func(c *Config, v string) error { return setProgressInterval(&c.WatchProgressInterval, v) },
	},
	{
		"auth-token", "Auth", "simple|jwt,OPTION=VALUE…", "simple", "what users get at login: a simple token, or a JWT by pub-key=FILE, priv-key=FILE, sign-method=METHOD, ttl=TIME",
		func(c *Config, v string) error { return setAuthToken(&c.AuthToken, v) },
	},
	{
		"auth-token-ttl", "Auth", "SECONDS", "300", "seconds after its last use at which a simple token expires",
		func(c *Config, v string) error { return setSeconds(&c.AuthTokenTTL, v, defaultTokenTTL) },
	},
	{
		"bcrypt-cost", "Auth", "N", "10", "work in the hash of a new password, 4 to 31: each step doubles the time of a login",
		func(c *Config, v string) error { return setBcryptCost(&c.BcryptCost, v) },
	},
	{
		"max-concurrent-streams", "Limits", "N", "65536", "calls that one connection may have open",
		func(c *Config, v string) error { return setStreams(&c.MaxConcurrentStreams, v) },
	},
	{
		"grpc-keepalive-min-time", "Limits", "TIME", "5s", "least time between a client's pings; the connection of one that pings more often is closed",
		func(c *Config, v string) error { return setKeepalive(&c.GRPCKeepaliveMinTime, v) },
	},
	{
		"grpc-keepalive-interval", "Limits", "TIME", "2h", "silence after which a client is pinged",
		func(c *Config, v string) error { return setKeepalive(&c.GRPCKeepaliveInterval, v) },
	},
	{
		"grpc-keepalive-timeout", "Limits", "TIME", "20s", "time for the response to that ping, after which the connection is closed",
		func(c *Config, v string) error { return setKeepalive(&c.GRPCKeepaliveTimeout, v) },
	},
	{
		"socket-reuse-port", "Member", "", "false", "allow several processes to listen on the same port",
		func(c *Config, v string) error { return setBool(&c.SocketReusePort, v) },
	},
	{
		"cors", "Access", "ORIGIN[,ORIGIN…]", "", "origins whose scripts browsers let call: http://HOST[:PORT], or * for any; without it, any for JSON under /v3/ and none for the rest",
		func(c *Config, v string) error { return setOrigins(&c.CORS, v) },
	},
	{
		"host-whitelist", "Access", "HOST[,HOST…]", "*", "hosts that HTTP requests without TLS may be addressed to; * is any",
		func(c *Config, v string) error { return setNames(&c.HostWhitelist, v) },
	},
	{
		"enable-console", "Access", "", "true", "serve the web console at /console/: to the same machine, and to all with authentication enabled",
		func(c *Config, v string) error { return setBool(&c.EnableConsole, v) },
	},
	{
		"console-read-only", "Access", "", "false", "refuse requests of the web console that write",
		func(c *Config, v string) error { return setBool(&c.ConsoleReadOnly, v) },
	},
	{
		"metrics", "Monitoring", "basic|extensive", "basic", "extensive also measures how long each gRPC call takes",
		func(c *Config, v string) error {
			level := "basic"
			err := setChoice(&level, v, "basic", "extensive")
			c.ExtensiveMetrics = level == "extensive"
			return err
		},
	},
	{
		"listen-metrics-urls", "Monitoring", urlsArg, "", "further addresses for /metrics and /health alone",
		func(c *Config, v string) error { return setURLs(&c.ListenMetricsURLs, v) },
	},
	{
		"enable-pprof", "Monitoring", "", "false", "serve profiles under /debug/pprof/ to clients",
		func(c *Config, v string) error { return setBool(&c.EnablePprof, v) },
	},
	{
		"log-level", "Logging", "LEVEL", "info", "debug, info, warn or error",
		func(c *Config, v string) error { return setLevel(&c.LogLevel, v) },
	},
	{
		"log-format", "Logging", "text|json", string(LogText), "how log lines are written",
		func(c *Config, v string) error {
			if v == "console" { // etcd's name for it
				v = string(LogText)
			}
			return setChoice(&c.LogFormat, v, LogText, LogJSON)
		},
	},
	{
		"log-outputs", "Logging", "OUTPUT[,OUTPUT…]", "stderr", "stderr, stdout, systemd/journal or files to append to",
		func(c *Config, v string) error { return setOutputs(&c.LogOutputs, v) },
	},
	{
		"debug", "Logging", "", "false", "log at the level debug; etcd 3.1's name of --log-level=debug",
		func(_ *Config, v string) error { return setBool(new(bool), v) },
	},
	{
		"enable-log-rotation", "Logging", "", "false", "rotate the files of --log-outputs",
		func(c *Config, v string) error {
			var on bool
			err := setBool(&on, v)
			if on {
				c.LogRotation = new(LogRotation)
			}
			return err
		},
	},
	{
		"log-rotation-config-json", "Logging", "JSON", defaultRotation, "how files are rotated: maxsize in MB, maxage in days, maxbackups, localtime, compress",
		nil,
	},
	{
		"unsafe-no-fsync", "Unsafe", "", "false", "do not wait for the disk: acknowledged writes are lost when the machine fails; for tests",
		func(c *Config, v string) error { return setBool(&c.UnsafeNoFsync, v) },
	},
	{
		"force-new-cluster", "Unsafe", "", "false", "start a cluster of one member from this member's data",
		func(c *Config, v string) error { return setBool(&c.ForceNewCluster, v) },
	},
	{
		"feature-gates", "Clustering", "NAME=true[,NAME=false…]", "", "etcd's feature gates, for example InitialCorruptCheck=true", nil,
	},
	{"config-file", "General", "PATH", "", "read all options from a YAML file; flags and ETCD_* variables then have no effect", nil},
	{"version", "General", "", "", "show the version", nil},
	{"help", "General", "", "", "show this text", nil},
}, slices.Concat(observeOptions, discoveryOptions, discoveryV3Options, proxyOptions, securityOptions)...)

var optionsByName = func() map[string]*option {
	m := map[string]*option{}
	for i := range options {
		m[options[i].name] = &options[i]
	}
	return m
}()

// isBoolean reports whether a flag may be given without a value, and whether the flag exists.
func isBoolean(name string) (boolean, known bool) {
	if o := optionsByName[name]; o != nil {
		return o.arg == "", true
	}
	f, ok := unsupportedOf(name)
	return f.boolean, ok
}

// apply sets the chosen values, sorted by name, so that of several errors always the same one is
// reported.
func (c *Config) apply(chosen map[string]setting) error {
	for _, name := range slices.Sorted(maps.Keys(chosen)) {
		s := chosen[name]
		if err := c.applyOne(name, s); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) applyOne(name string, s setting) error {
	o := optionsByName[name]
	if o == nil {
		return c.applyUnsupported(name, s)
	}
	if o.set == nil {
		return nil
	}
	err := o.set(c, strings.TrimSpace(s.value))
	return s.wrap(err)
}

// wrap adds the setting's name to an error about its value, and makes an error in the command line
// a UsageError.
func (s setting) wrap(err error) error {
	switch {
	case err == nil:
		return nil
	case s.flag:
		return usageErrorf("%s: %w", s.source, err)
	}
	return errorAt(s.source, err)
}
