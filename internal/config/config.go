// Package config reads the command line, the environment or a configuration file into one Config
// value, or returns an error that names what is wrong and what to write instead.
//
// It owns the table of options (names, defaults, help), their precedence, and every check that
// needs only the options. It does not own checks of the disk or the network: whether a port is
// free, the content of a data directory, the members of a running cluster.
//
// Precedence is etcd's (https://etcd.io/docs/v3.6/op-guide/configuration/): flags go before ETCD_*
// variables, these before the defaults; with a configuration file neither flags nor variables
// count, only the file and the defaults.
//
// Invariant: a Config that Load returned needs no further check but Founders, which matters only
// where a member is created: a member that exists has its cluster on disk, and --initial-* are then
// ignored, as in etcd.
//
// Concurrency: none; Load depends only on its arguments, and a Config is not changed after it.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// Config has all settings of a member.
type Config struct {
	Name    string
	DataDir string
	// no data directory was given, so it is NAME.etcd in the working directory
	DataDirDefaulted bool

	ListenClientURLs    URLs
	AdvertiseClientURLs URLs
	ListenPeerURLs      URLs
	ListenMetricsURLs   URLs // further addresses for /metrics and /health alone; usually empty
	// addresses for HTTP only; if there are any, ListenClientURLs serve gRPC only
	ListenClientHTTPURLs URLs
	WALDir               string // of the log store; "" means below DataDir

	ClientTLS, PeerTLS TLS
	SelfSignedYears    uint // validity of self-signed certificates

	// The fields below are used to bootstrap a member, and ignored when the data directory has one.
	InitialAdvertisePeerURLs URLs
	InitialCluster           string // as given, or derived from the two above; Founders parses it
	InitialClusterToken      string
	Discovery                Discovery
	Proxy                    Proxy
	InitialClusterState      ClusterState
	ForceNewCluster          bool

	StrictReconfigCheck bool
	LearnersMax         uint64
	LearnerAutoPromote  bool // cairn's own option

	HeartbeatInterval      time.Duration
	ElectionTimeout        time.Duration
	SnapshotCount          uint64 // entries applied between two snapshots
	SnapshotCatchupEntries uint64 // entries kept in the log for followers that are behind
	QuotaBackendBytes      int64  // 0 or less means none
	RequestBytesMax        uint64
	TxnOpsMax              uint64
	InitialCorruptCheck    bool          // compare with the other members before serving
	CorruptCheckTime       time.Duration // interval of comparing all keys; 0 means never
	// interval of comparing the keys at the last compaction; 0 means never
	CompactHashCheckTime time.Duration
	CompactHashCheck     bool
	// interval of progress notifications of a watch without events
	WatchProgressInterval time.Duration
	AutoCompaction        AutoCompaction

	AuthToken    AuthToken
	AuthTokenTTL time.Duration // of a simple token, since its last use
	BcryptCost   int

	// bytes that the process may use; 0 means the cgroup's or machine's
	MemoryLimit           int64
	MaxConcurrentStreams  uint32        // per connection; 0 means the transport's limit
	GRPCKeepaliveMinTime  time.Duration // between a client's pings; 0 means gRPC's default
	GRPCKeepaliveInterval time.Duration // of silence until a client is pinged; 0 means gRPC's default
	GRPCKeepaliveTimeout  time.Duration // for its answer; 0 is gRPC's default
	SocketReusePort       bool

	// origins that browsers may call from; "*" is any, nil is any for JSON under /v3/ and none else
	CORS          []string
	HostWhitelist []string // hosts that requests without TLS may name; "*", or none, is any

	EnableV2         bool
	EnablePprof      bool
	EnableConsole    bool // serve the web console
	ConsoleReadOnly  bool // refuse the writes of the web console
	ExtensiveMetrics bool // also histograms of how long calls took

	SlowApply          time.Duration // above which applying a batch or reading a range is logged
	SlowRequest        time.Duration // above which a gRPC request is logged
	Tracing            Tracing
	RaftReadTimeout    time.Duration // of connections to other members
	RaftWriteTimeout   time.Duration
	SetMemberLocalAddr bool // see MemberLocalIP

	LogLevel   slog.Level
	LogFormat  LogFormat
	LogOutputs []string // "stderr", "stdout", "systemd/journal" or paths; never empty
	// nil keeps log files as they are
	LogRotation *LogRotation

	LockMemory    bool // --memory-mlock
	UnsafeNoFsync bool

	File     string    // the configuration file that all this is from, or ""
	Warnings []Warning // to be logged once there is a log

	chosen    map[string]setting // by the options' current names
	retention string             // as --auto-compaction-retention has it in the end

	// of TLS, as they were given; completeTLS reads them
	cipherSuites   []string
	tlsMin, tlsMax string
	skipPeerSAN    bool
}

// LogRotation is how log files are rotated. The names are those of --log-rotation-config-json.
type LogRotation struct {
	MaxSizeMB  int  `json:"maxsize"`    // of a file before it is rotated; 0 means 100
	MaxAgeDays int  `json:"maxage"`     // of old files; 0 keeps them
	MaxBackups int  `json:"maxbackups"` // old files; 0 keeps all
	LocalTime  bool `json:"localtime"`  // in the names of old files
	Compress   bool `json:"compress"`   // old files, by gzip
}

// ClusterState is whether a new member bootstraps a cluster or joins one.
type ClusterState string

// The states of --initial-cluster-state.
const (
	ClusterNew      ClusterState = "new"
	ClusterExisting ClusterState = "existing"
)

// LogFormat is how log lines are written.
type LogFormat string

// The formats of --log-format.
const (
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// AutoCompaction is how much history is kept. At most one of the two is positive; when neither is,
// history is kept until a client compacts it.
type AutoCompaction struct {
	Period    time.Duration // of --auto-compaction-mode=periodic
	Revisions int64         // of --auto-compaction-mode=revision
}

// String returns the setting for humans.
func (a AutoCompaction) String() string {
	switch {
	case a.Period > 0:
		return "keep " + a.Period.String()
	case a.Revisions > 0:
		return fmt.Sprintf("keep %d revisions", a.Revisions)
	}
	return "off"
}

// Warning is a setting that does not prevent the start, but that the user should know about.
type Warning struct {
	Message string // constant for its kind, for the log
	Setting string // as the user wrote it: --max-wals, ETCD_BOGUS
	Reason  string // or ""
}

// ErrHelp and ErrVersion are returned by Load when the user requested help or the version; then
// there is no Config.
var (
	ErrHelp    = errors.New("help requested")
	ErrVersion = errors.New("version requested")
)

// UsageError is an error in the command line itself: an unknown flag, or an unparsable value. As in
// etcd the program exits with status 2 after one, and with 1 after any other error.
type UsageError struct{ err error }

func (e *UsageError) Error() string { return e.err.Error() }

// Unwrap returns the wrapped error.
func (e *UsageError) Unwrap() error { return e.err }

func usageErrorf(format string, args ...any) error {
	return &UsageError{fmt.Errorf(format, args...)}
}

// Load reads the options from args (without the program's name), environ (in the form of
// os.Environ) and, if one is given, the configuration file, which it reads with readFile.
//
// It returns ErrHelp or ErrVersion when these were requested, a *UsageError when the command line
// cannot be parsed, and otherwise an error that names the setting, its value and what is wanted.
func Load(args, environ []string, readFile func(path string) ([]byte, error)) (*Config, error) {
	flags, rest, err := parseFlags(args)
	if err != nil {
		return nil, err
	}
	if _, ok := flags["help"]; ok {
		return nil, ErrHelp
	}
	if s, ok := flags["version"]; ok && isTrue(s.value) {
		return nil, ErrVersion
	}
	if len(rest) > 0 {
		return nil, extraArgument(rest[0])
	}

	c := defaults()
	variables := c.parseEnvironment(environ)
	chosen, err := c.choose(flags, variables, readFile)
	if err != nil {
		return nil, err
	}
	if c.chosen, err = c.resolve(chosen); err != nil {
		return nil, err
	}
	if err := c.apply(c.chosen); err != nil {
		return nil, err
	}
	if err := c.complete(c.chosen); err != nil {
		return nil, err
	}
	return c, nil
}

// setting is one option as the user gave it.
type setting struct {
	value  string
	source string // as errors name it: --name, ETCD_NAME, /etc/etcd.yml: name
	flag   bool   // given on the command line
}

// choose applies the precedence of the sources.
func (c *Config) choose(flags, variables map[string]setting, readFile func(string) ([]byte, error)) (map[string]setting, error) {
	file, ok := flags["config-file"]
	if !ok {
		file = variables["config-file"]
	}
	delete(flags, "config-file")
	delete(variables, "config-file")
	if file.value != "" {
		if len(flags)+len(variables) > 0 {
			c.warn("flags and environment variables have no effect beside a configuration file", file.source, "")
		}
		c.File = file.value
		return c.parseFile(file, readFile)
	}
	for name, s := range flags {
		if shadowed, ok := variables[name]; ok {
			c.warn("environment variable has no effect", shadowed.source, s.source+" is given as well")
		}
		variables[name] = s
	}
	return variables, nil
}

// warn adds a warning, once: one setting may stand for several.
func (c *Config) warn(message, setting, reason string) {
	if w := (Warning{message, setting, reason}); !slices.Contains(c.Warnings, w) {
		c.Warnings = append(c.Warnings, w)
	}
}
