package config

import (
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"cairn/internal/certs"
)

// load is Load with files in memory.
func load(t *testing.T, args, environ []string, files map[string]string) (*Config, error) {
	t.Helper()
	return Load(args, environ, func(path string) ([]byte, error) {
		text, ok := files[path]
		if !ok {
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}
		return []byte(text), nil
	})
}

func mustLoad(t *testing.T, args, environ []string, files map[string]string) *Config {
	t.Helper()
	c, err := load(t, args, environ, files)
	if err != nil {
		t.Fatalf("Load(%q, %q): %v", args, environ, err)
	}
	return c
}

func TestDefaults(t *testing.T) {
	got := mustLoad(t, nil, []string{"PATH=/bin", "ETCDCTL_API=2"}, nil)
	client, peer := URLs{{"http", "localhost:2379"}}, URLs{{"http", "localhost:2380"}}
	want := &Config{
		Name: "default", DataDir: "default.etcd", DataDirDefaulted: true,
		ListenClientURLs: client, AdvertiseClientURLs: client, ListenPeerURLs: peer, InitialAdvertisePeerURLs: peer,
		InitialCluster: "default=http://localhost:2380", InitialClusterToken: "etcd-cluster", InitialClusterState: ClusterNew, StrictReconfigCheck: true, LearnersMax: 1,
		HeartbeatInterval: 100 * time.Millisecond, ElectionTimeout: time.Second,
		SnapshotCount: 10000, SnapshotCatchupEntries: 5000, RequestBytesMax: 1572864, TxnOpsMax: 128, WatchProgressInterval: 10 * time.Minute,
		GRPCKeepaliveMinTime: 5 * time.Second, GRPCKeepaliveInterval: 2 * time.Hour, GRPCKeepaliveTimeout: 20 * time.Second,
		CompactHashCheck: true, CompactHashCheckTime: time.Minute,
		AutoCompaction: AutoCompaction{Period: time.Hour},
		AuthTokenTTL:   5 * time.Minute, BcryptCost: 10,
		EnableV2: true, EnableConsole: true, LogLevel: slog.LevelInfo, LogFormat: LogText, LogOutputs: []string{"stderr"},
		SlowApply: 100 * time.Millisecond, SlowRequest: 300 * time.Millisecond, RaftReadTimeout: 5 * time.Second, RaftWriteTimeout: 5 * time.Second,
		Tracing:         Tracing{Address: "localhost:4317", ServiceName: "etcd"},
		SelfSignedYears: 1, ClientTLS: TLS{Options: certs.Options{Role: "client", MinVersion: tls.VersionTLS12}},
		PeerTLS: TLS{Options: certs.Options{Role: "peer", MinVersion: tls.VersionTLS12, CheckClientSAN: true}},
		Discovery: Discovery{Fallback: true, V3: DiscoveryV3{
			DialTimeout: 2 * time.Second, RequestTimeout: 5 * time.Second, KeepaliveTime: 2 * time.Second, KeepaliveTimeout: 6 * time.Second, Insecure: true,
		}},
		Proxy:  Proxy{Mode: ProxyOff, RefreshInterval: 30 * time.Second, FailureWait: 5 * time.Second, DialTimeout: time.Second, WriteTimeout: 5 * time.Second},
		chosen: map[string]setting{}, retention: "1h", tlsMin: "TLS1.2",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("defaults\n got %+v\nwant %+v", got, want)
	}
}

func TestNameMakesDataDirAndCluster(t *testing.T) {
	c := mustLoad(t, []string{"--name", "n1"}, nil, nil)
	if c.DataDir != "n1.etcd" || c.InitialCluster != "n1=http://localhost:2380" {
		t.Errorf("data dir %q, initial cluster %q", c.DataDir, c.InitialCluster)
	}
	c = mustLoad(t, []string{"--name=n1", "--initial-advertise-peer-urls", "http://b:1,http://a:1"}, nil, nil)
	if want := "n1=http://a:1,n1=http://b:1"; c.InitialCluster != want {
		t.Errorf("initial cluster %q, want %q", c.InitialCluster, want)
	}
}

// TestEveryOption sets each option of the table from each kind of source, and checks the field that
// it sets.
func TestEveryOption(t *testing.T) {
	for _, o := range []struct {
		name, value string
		field       func(*Config) any
		want        any
	}{
		{"name", "n1", func(c *Config) any { return c.Name }, "n1"},
		{"data-dir", "/d", func(c *Config) any { return c.DataDir }, "/d"},
		{"listen-client-urls", "http://10.0.0.1:1, http://[::1]:2,http://10.0.0.1:1", func(c *Config) any { return c.ListenClientURLs.String() }, "http://10.0.0.1:1,http://[::1]:2"},
		{"listen-peer-urls", "http://0.0.0.0:7001", func(c *Config) any { return c.ListenPeerURLs.String() }, "http://0.0.0.0:7001"},
		{"advertise-client-urls", "https://example.org:1", func(c *Config) any { return c.AdvertiseClientURLs.String() }, "https://example.org:1"},
		{"initial-advertise-peer-urls", "http://b:1,http://a:1", func(c *Config) any { return c.InitialAdvertisePeerURLs.String() }, "http://a:1,http://b:1"},
		{"heartbeat-interval", "50", func(c *Config) any { return c.HeartbeatInterval }, 50 * time.Millisecond},
		{"election-timeout", "2000", func(c *Config) any { return c.ElectionTimeout }, 2 * time.Second},
		{"enable-v2", "false", func(c *Config) any { return c.EnableV2 }, false},
		{"initial-cluster", "a=http://a:1", func(c *Config) any { return c.InitialCluster }, "a=http://a:1"},
		{"initial-cluster-state", "existing", func(c *Config) any { return c.InitialClusterState }, ClusterExisting},
		{"initial-cluster-token", "tok", func(c *Config) any { return c.InitialClusterToken }, "tok"},
		{"snapshot-count", "50", func(c *Config) any { return c.SnapshotCount }, uint64(50)},
		{"snapshot-catchup-entries", "60", func(c *Config) any { return c.SnapshotCatchupEntries }, uint64(60)},
		{"quota-backend-bytes", "8589934592", func(c *Config) any { return c.QuotaBackendBytes }, int64(8589934592)},
		{"auto-compaction-retention", "5m", func(c *Config) any { return c.AutoCompaction }, AutoCompaction{Period: 5 * time.Minute}},
		{"max-request-bytes", "1000", func(c *Config) any { return c.RequestBytesMax }, uint64(1000)},
		{"corrupt-check-time", "2h", func(c *Config) any { return c.CorruptCheckTime }, 2 * time.Hour},
		{"compact-hash-check-enabled", "false", func(c *Config) any { return c.CompactHashCheck }, false},
		{"compact-hash-check-time", "5m", func(c *Config) any { return c.CompactHashCheckTime }, 5 * time.Minute},
		{"initial-corrupt-check", "true", func(c *Config) any { return c.InitialCorruptCheck }, true},
		{"watch-progress-notify-interval", "1m30s", func(c *Config) any { return c.WatchProgressInterval }, 90 * time.Second},
		{"max-txn-ops", "5", func(c *Config) any { return c.TxnOpsMax }, uint64(5)},
		{"listen-metrics-urls", "http://localhost:1", func(c *Config) any { return c.ListenMetricsURLs.String() }, "http://localhost:1"},
		{"enable-pprof", "true", func(c *Config) any { return c.EnablePprof }, true},
		{"enable-console", "false", func(c *Config) any { return c.EnableConsole }, false},
		{"console-read-only", "true", func(c *Config) any { return c.ConsoleReadOnly }, true},
		{"log-level", "debug", func(c *Config) any { return c.LogLevel }, slog.LevelDebug},
		{"log-format", "json", func(c *Config) any { return c.LogFormat }, LogJSON},
		{"log-outputs", "stdout,/l", func(c *Config) any { return strings.Join(c.LogOutputs, " ") }, "stdout /l"},
		{"unsafe-no-fsync", "true", func(c *Config) any { return c.UnsafeNoFsync }, true},
		{"memory-mlock", "true", func(c *Config) any { return c.LockMemory }, true},
		{"wal-dir", "/w", func(c *Config) any { return c.WALDir }, "/w"},
		{"listen-client-http-urls", "http://127.0.0.1:5", func(c *Config) any { return c.ListenClientHTTPURLs.String() }, "http://127.0.0.1:5"},
		{"debug", "true", func(c *Config) any { return c.LogLevel }, slog.LevelDebug},
		{"trusted-ca-file", "/ca", func(c *Config) any { return c.ClientTLS.TrustedCAFile }, "/ca"},
		{"client-cert-auth", "true", func(c *Config) any { return c.ClientTLS.RequireClientCert }, true},
		{"client-crl-file", "/crl", func(c *Config) any { return c.ClientTLS.CRLFile }, "/crl"},
		{"client-cert-allowed-hostname", "a,b", func(c *Config) any { return strings.Join(c.ClientTLS.AllowedHostnames, " ") }, "a b"},
		{"auto-tls", "true", func(c *Config) any { return c.ClientTLS.Auto }, true},
		{"peer-trusted-ca-file", "/ca", func(c *Config) any { return c.PeerTLS.TrustedCAFile }, "/ca"},
		{"peer-client-cert-auth", "true", func(c *Config) any { return c.PeerTLS.RequireClientCert }, true},
		{"peer-crl-file", "/crl", func(c *Config) any { return c.PeerTLS.CRLFile }, "/crl"},
		{"peer-auto-tls", "true", func(c *Config) any { return c.PeerTLS.Auto }, true},
		{"peer-cert-allowed-cn", "m", func(c *Config) any { return c.PeerTLS.AllowedCNs[0] }, "m"},
		{"peer-cert-allowed-hostname", "h", func(c *Config) any { return c.PeerTLS.AllowedHostnames[0] }, "h"},
		{"peer-skip-client-san-verification", "true", func(c *Config) any { return c.PeerTLS.CheckClientSAN }, false},
		{"experimental-peer-skip-client-san-verification", "true", func(c *Config) any { return c.PeerTLS.CheckClientSAN }, false},
		{"self-signed-cert-validity", "3", func(c *Config) any { return c.SelfSignedYears }, uint(3)},
		{"tls-max-version", "TLS1.2", func(c *Config) any { return c.PeerTLS.MaxVersion }, uint16(tls.VersionTLS12)},
		{"tls-min-version", "TLS1.3", func(c *Config) any { return c.ClientTLS.MinVersion }, uint16(tls.VersionTLS13)},
		{"cipher-suites", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", func(c *Config) any { return c.ClientTLS.CipherSuites[0] }, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
		{"ca-file", "/ca", func(c *Config) any { return c.ClientTLS.RequireClientCert }, true},
		{"feature-gates", "InitialCorruptCheck=true,CompactHashCheck=false", func(c *Config) any { return c.InitialCorruptCheck && !c.CompactHashCheck }, true},
		{"warning-apply-duration", "1s", func(c *Config) any { return c.SlowApply }, time.Second},
		{"experimental-warning-apply-duration", "0", func(c *Config) any { return c.SlowApply }, time.Duration(0)},
		{"warning-unary-request-duration", "1s", func(c *Config) any { return c.SlowRequest }, time.Second},
		{"enable-distributed-tracing", "true", func(c *Config) any { return c.Tracing.Enabled }, true},
		{"distributed-tracing-address", "c:1", func(c *Config) any { return c.Tracing.Address }, "c:1"},
		{"distributed-tracing-service-name", "s", func(c *Config) any { return c.Tracing.ServiceName }, "s"},
		{"distributed-tracing-instance-id", "i", func(c *Config) any { return c.Tracing.InstanceID }, "i"},
		{"experimental-distributed-tracing-sampling-rate", "1000000", func(c *Config) any { return c.Tracing.SamplesPerMillion }, 1000000},
		{"raft-read-timeout", "9s", func(c *Config) any { return c.RaftReadTimeout }, 9 * time.Second},
		{"raft-write-timeout", "1s", func(c *Config) any { return c.RaftWriteTimeout }, 5 * time.Second},
		{"set-member-localaddr", "true", func(c *Config) any { return c.MemberLocalIP().IsValid() }, false},
		{"force-new-cluster", "true", func(c *Config) any { return c.ForceNewCluster }, true},
	} {
		args, environ := []string{"--" + o.name + "=" + o.value}, []string{VariableOf(o.name) + "=" + o.value}
		if o.name == "listen-client-urls" {
			args = append(args, "--advertise-client-urls", "http://a:1")
			environ = append(environ, "ETCD_ADVERTISE_CLIENT_URLS=http://a:1")
		}
		for source, c := range map[string]*Config{
			"flag":                 mustLoad(t, args, nil, nil),
			"variable":             mustLoad(t, nil, environ, nil),
			"file":                 mustLoad(t, []string{"--config-file", "/f"}, nil, map[string]string{"/f": o.name + ": " + o.value + "\n"}),
			"flag before variable": mustLoad(t, args, []string{VariableOf(o.name) + "=nonsense"}, nil),
		} {
			if got := o.field(c); got != o.want {
				t.Errorf("%s %s=%s: got %v, want %v", source, o.name, o.value, got, o.want)
			}
		}
	}
}

func TestFlagSyntax(t *testing.T) {
	for _, args := range [][]string{
		{"--name", "n1"},
		{"-name", "n1"},
		{"--name=n1"},
		{"-name=n1"},
		{"--name", "n0", "--name", "n1"},
		{"--enable-v2", "--name", "n1"},
		{"--name", "n1", "--"},
	} {
		if c := mustLoad(t, args, nil, nil); c.Name != "n1" || !c.EnableV2 {
			t.Errorf("%q: name %q, v2 %v", args, c.Name, c.EnableV2)
		}
	}
	for _, flag := range []string{"-h", "--h", "-help", "--help"} {
		if _, err := load(t, []string{flag}, nil, nil); !errors.Is(err, ErrHelp) {
			t.Errorf("%s: %v, want ErrHelp", flag, err)
		}
	}
	for _, args := range [][]string{{"--version"}, {"-version"}, {"--version", "--name", "n"}, {"--heartbeat-interval", "x", "--version=true"}} {
		if _, err := load(t, args, nil, nil); !errors.Is(err, ErrVersion) {
			t.Errorf("%q: %v, want ErrVersion", args, err)
		}
	}
	mustLoad(t, []string{"--version=false"}, nil, nil)
}

func TestSmallPrint(t *testing.T) {
	for _, c := range []struct {
		args []string
		ok   func(*Config) bool
	}{
		{[]string{"--snapshot-count", "0"}, func(c *Config) bool { return c.SnapshotCount == 10000 }},
		{[]string{"--experimental-snapshot-catchup-entries", "7"}, func(c *Config) bool { return c.SnapshotCatchupEntries == 7 }},
		{[]string{"--initial-cluster-token", ""}, func(c *Config) bool { return c.InitialClusterToken == "" }},
		{[]string{"--quota-backend-bytes", "2GiB"}, func(c *Config) bool { return c.QuotaBackendBytes == 2<<30 }},
		{[]string{"--quota-backend-bytes", "2gb"}, func(c *Config) bool { return c.QuotaBackendBytes == 2e9 }},
		{[]string{"--max-request-bytes", "2 MiB"}, func(c *Config) bool { return c.RequestBytesMax == 2<<20 }},
		{[]string{"--watch-progress-notify-interval", "0s"}, func(c *Config) bool { return c.WatchProgressInterval == 10*time.Minute }},
		{[]string{"--watch-progress-notify-interval", "1ms"}, func(c *Config) bool { return c.WatchProgressInterval == 100*time.Millisecond }},
		{[]string{"--log-outputs", "systemd/journal"}, func(c *Config) bool { return c.LogOutputs[0] == JournalOutput }},
		{[]string{"--enable-log-rotation", "--log-outputs", "/l", "--log-rotation-config-json", `{"maxsize": 5, "compress": true}`}, func(c *Config) bool { return *c.LogRotation == LogRotation{MaxSizeMB: 5, Compress: true} }},
		{[]string{"--quota-backend-bytes", "-1"}, func(c *Config) bool { return c.QuotaBackendBytes == -1 }},
		{[]string{"--log-format", "console"}, func(c *Config) bool { return c.LogFormat == LogText }},
		{[]string{"--log-level", "fatal"}, func(c *Config) bool { return c.LogLevel == slog.LevelError }},
		{[]string{"--log-outputs", "default,stderr"}, func(c *Config) bool { return slices.Equal(c.LogOutputs, []string{"stderr"}) }},
		{[]string{"--auto-compaction-retention", "0"}, func(c *Config) bool { return c.AutoCompaction == AutoCompaction{} }},
		{[]string{"--auto-compaction-retention", "24"}, func(c *Config) bool { return c.AutoCompaction.Period == 24*time.Hour }},
		{[]string{"--auto-compaction-retention", "1h30m"}, func(c *Config) bool { return c.AutoCompaction.Period == 90*time.Minute }},
		{[]string{"--auto-compaction-mode", "revision", "--auto-compaction-retention", "1000"}, func(c *Config) bool { return c.AutoCompaction == AutoCompaction{Revisions: 1000} }},
		{[]string{"--auto-compaction-mode", "revision"}, func(c *Config) bool { return c.AutoCompaction == AutoCompaction{} && len(c.Warnings) == 1 }},
	} {
		if got := mustLoad(t, c.args, nil, nil); !c.ok(got) {
			t.Errorf("%q: got %+v", c.args, got)
		}
	}
}

func TestAutoCompactionString(t *testing.T) {
	for want, a := range map[string]AutoCompaction{
		"off": {}, "keep 1h0m0s": {Period: time.Hour}, "keep 9 revisions": {Revisions: 9},
	} {
		if a.String() != want {
			t.Errorf("%#v = %q, want %q", a, a.String(), want)
		}
	}
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		args, environ []string
		file          string
		want          []Warning
	}{
		{nil, []string{"ETCD_BOGUS=secret", "ETCD_EMPTY=", "ETCD_UNSUPPORTED_ARCH=arm", "ETCD_SERVICE_HOST=10.0.0.1", "ETCD_PORT_2379_TCP=x"}, "", []Warning{{"unrecognised environment variable", "ETCD_BOGUS", ""}}},
		{nil, []string{"ETCD_VERSION=v3.4.0", "ETCD_HELP=1"}, "", []Warning{{"unrecognised environment variable", "ETCD_HELP", ""}, {"unrecognised environment variable", "ETCD_VERSION", ""}}},
		{[]string{"--name", "a"}, []string{"ETCD_NAME=b"}, "", []Warning{{"environment variable has no effect", "ETCD_NAME", "--name is given as well"}}},
		{[]string{"--max-wals", "3"}, nil, "", []Warning{{"setting has no effect", "--max-wals", "cairn truncates its log itself"}}},
		{[]string{"--advertise-client-urls", "http://0.0.0.0:1"}, nil, "", []Warning{{"address cannot be reached by others", "--advertise-client-urls", "http://0.0.0.0:1 means every address of the machine that uses it"}}},
		{[]string{"--config-file=/f"}, nil, "bogus: 1\n", []Warning{{"unrecognised key in configuration file", "/f: bogus", ""}}},
		{[]string{"--config-file=/f", "--name=x"}, nil, "", []Warning{{"flags and environment variables have no effect beside a configuration file", "--config-file", ""}}},
		{nil, []string{"ETCD_CONFIG_FILE=/f", "ETCD_NAME=x"}, "", []Warning{{"flags and environment variables have no effect beside a configuration file", "ETCD_CONFIG_FILE", ""}}},
		{[]string{"--config-file=/f"}, nil, "listen-client-urls: http://127.0.0.1:1\n", []Warning{{"clients are sent to the default address", "advertise-client-urls", "give the URLs at which clients reach this member"}}},
	} {
		got := mustLoad(t, c.args, c.environ, map[string]string{"/f": c.file})
		if !slices.Equal(got.Warnings, c.want) {
			t.Errorf("%q %q: warnings\n got %q\nwant %q", c.args, c.environ, got.Warnings, c.want)
		}
		if got.Name == "x" {
			t.Errorf("%q %q: the name was not read from the file", c.args, c.environ)
		}
	}
}

// noLookup is a Lookup that knows no name.
func noLookup(context.Context, string, string) ([]netip.Addr, error) {
	return nil, errors.New("no such host")
}

// TestNamesAreResolved compares host names as etcd does, by their addresses.
func TestNamesAreResolved(t *testing.T) {
	lookups := 0
	lookup := func(_ context.Context, _, host string) ([]netip.Addr, error) {
		lookups++
		switch host {
		case "n1.example":
			return []netip.Addr{netip.MustParseAddr("::ffff:10.0.0.1"), netip.MustParseAddr("fd00::1")}, nil
		case "alias.example":
			return []netip.Addr{netip.MustParseAddr("10.0.0.1")}, nil
		case "n2.example":
			return []netip.Addr{netip.MustParseAddr("10.0.0.2")}, nil
		}
		return nil, errors.New("no such host")
	}
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"http://n1.example:1", "http://10.0.0.1:1", true},
		{"http://n1.example:1", "http://[fd00::1]:1", true},
		{"http://n1.example:1", "http://alias.example:1", true},
		{"http://n1.example:1,http://n2.example:1", "http://10.0.0.2:1,http://10.0.0.1:1", true},
		{"http://n1.example:1", "http://10.0.0.2:1", false},
		{"http://n1.example:1", "http://10.0.0.1:2", false},
		{"http://n1.example:1", "https://10.0.0.1:1", false},
		{"http://n1.example:1", "http://10.0.0.1:1,http://10.0.0.2:1", false},
		{"http://none.example:1", "http://10.0.0.1:1", false},
		{"http://none.example:1", "http://NONE.example:1", true},
	} {
		if got := SameAddresses(t.Context(), lookup, mustURLs(c.a), mustURLs(c.b)); got != c.want {
			t.Errorf("%s and %s are the same: %t, want %t", c.a, c.b, got, c.want)
		}
	}
	lookups = 0
	SameAddresses(t.Context(), lookup, mustURLs("http://n1.example:1"), mustURLs("http://n1.example:1"))
	if lookups != 0 {
		t.Error("equal texts were resolved")
	}
}

func TestFounders(t *testing.T) {
	c := mustLoad(t, []string{"--name", "b", "--initial-advertise-peer-urls", "http://b:2,http://b:1", "--initial-cluster", "b=http://b:1, a=http://a:1,b=http://b:2,"}, nil, nil)
	founders, err := c.Founders(t.Context(), noLookup)
	if err != nil {
		t.Fatal(err)
	}
	want := []Founder{{"a", mustURLs("http://a:1")}, {"b", mustURLs("http://b:1,http://b:2")}}
	if !reflect.DeepEqual(founders, want) {
		t.Errorf("founders %+v, want %+v", founders, want)
	}
	c = mustLoad(t, []string{"--initial-cluster", "default=http://127.0.0.1:2380"}, nil, nil)
	if _, err := c.Founders(t.Context(), noLookup); err != nil {
		t.Errorf("localhost and 127.0.0.1 should be the same place: %v", err)
	}
	for own, listed := range map[string]string{
		"http://[::1]:1": "http://[0:0:0:0:0:0:0:1]:1", "http://[FE80::A]:1": "http://[fe80::a]:1",
		"http://[::ffff:127.0.0.1]:1": "http://127.0.0.1:1", "https://N1.example:1": "https://n1.example:1",
	} {
		c := mustLoad(t, []string{"--initial-advertise-peer-urls", own, "--initial-cluster", "default=" + listed}, nil, nil)
		if _, err := c.Founders(t.Context(), noLookup); err != nil {
			t.Errorf("%s and %s should be the same place: %v", own, listed, err)
		}
	}
}

func TestHelpNamesEveryOption(t *testing.T) {
	help := Help()
	for _, o := range options {
		if !strings.Contains(help, "\n  --"+o.name) {
			t.Errorf("help does not have --%s: is its section %q one of %q?", o.name, o.section, sections)
		}
	}
}

func TestAuthOptions(t *testing.T) {
	c := mustLoad(t, []string{"--auth-token", "jwt,pub-key=p,priv-key=k,sign-method=RS512,ttl=10m", "--auth-token-ttl=7", "--bcrypt-cost=5"}, nil, nil)
	want := AuthToken{JWT: true, SignMethod: "RS512", PubKey: "p", PrivKey: "k", TTL: 10 * time.Minute}
	if c.AuthToken != want || c.AuthTokenTTL != 7*time.Second || c.BcryptCost != 5 {
		t.Errorf("%+v, %v, %d", c.AuthToken, c.AuthTokenTTL, c.BcryptCost)
	}
	c = mustLoad(t, nil, []string{"ETCD_AUTH_TOKEN=jwt,priv-key=k,sign-method=HS256", "ETCD_AUTH_TOKEN_TTL=0"}, nil)
	if want = (AuthToken{JWT: true, SignMethod: "HS256", PrivKey: "k", TTL: 5 * time.Minute}); c.AuthToken != want || c.AuthTokenTTL != 5*time.Minute {
		t.Errorf("%+v, %v", c.AuthToken, c.AuthTokenTTL)
	}
	if c = mustLoad(t, []string{"--auth-token=simple"}, nil, nil); c.AuthToken != (AuthToken{}) {
		t.Errorf("%+v", c.AuthToken)
	}
}

// TestClientCertFile warns that the certificate for connections of a member to itself is not used.
func TestClientCertFile(t *testing.T) {
	c := mustLoad(t, []string{
		"--listen-client-urls=https://127.0.0.1:1", "--advertise-client-urls=https://127.0.0.1:1", "--cert-file=/c", "--key-file=/k",
		"--client-cert-file=/cc", "--client-key-file=/ck",
	}, nil, nil)
	if len(c.Warnings) != 2 || c.Warnings[0].Setting != "--client-cert-file" || c.Warnings[1].Setting != "--client-key-file" {
		t.Errorf("warnings %q", c.Warnings)
	}
}

// TestClientCertAuthWithoutCA warns that any public authority's certificates are accepted, as in
// etcd.
func TestClientCertAuthWithoutCA(t *testing.T) {
	for _, prefix := range []string{"", "peer-"} {
		c := mustLoad(t, []string{
			"--listen-client-urls=https://127.0.0.1:1", "--advertise-client-urls=https://127.0.0.1:1", "--cert-file=/c", "--key-file=/k",
			"--listen-peer-urls=https://127.0.0.1:2", "--peer-cert-file=/c", "--peer-key-file=/k", "--" + prefix + "client-cert-auth",
		}, nil, nil)
		if len(c.Warnings) != 1 || c.Warnings[0].Setting != "--"+prefix+"client-cert-auth" || c.Warnings[0].Reason != "--"+prefix+"trusted-ca-file is not given" {
			t.Errorf("warnings %q", c.Warnings)
		}
	}
}
