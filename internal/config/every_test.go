package config

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// flagCase is a flag with a value that is accepted, and one that is refused with an error that
// contains want; bad is "" for flags whose every value is accepted.
type flagCase struct{ good, bad, want string }

var (
	aBool    = flagCase{"true", "maybe", `"maybe" is neither true nor false`}
	aTime    = flagCase{"7s", "7", `"7" is not a length of time such as 30s or 10m`}
	aPath    = flagCase{"/p", "", ""}
	aText    = flagCase{"text", "", ""}
	aMilli   = flagCase{"700", "1s", `"1s" is not a number of milliseconds: want a whole number without a unit, for example 100`}
	aCount   = flagCase{"70", "-1", `"-1" is not a number: want 0 or more`}
	aSize    = flagCase{"3GiB", "big", `"big" is not a number of bytes`}
	urls     = flagCase{"http://127.0.0.1:1", "127.0.0.1:1", `"127.0.0.1:1" is not a URL: want http://HOST:PORT, https://HOST:PORT, unix://PATH or unixs://PATH`}
	ignored  = flagCase{"7", "", ""} // has no effect here
	noEffect = flagCase{"true", "maybe", `"maybe" is neither true nor false`}
)

// flagCases has every flag. TestEveryFlag fails for one that is missing.
var flagCases = map[string]flagCase{
	"name":                        {"n", "a,b", `"a,b" has a comma or an equals sign, which --initial-cluster could not hold: want another name`},
	"data-dir":                    aPath,
	"wal-dir":                     aPath,
	"listen-client-urls":          urls,
	"listen-peer-urls":            urls,
	"listen-client-http-urls":     urls,
	"listen-metrics-urls":         urls,
	"advertise-client-urls":       urls,
	"initial-advertise-peer-urls": urls,
	"memory-mlock":                aBool,
	"heartbeat-interval":          {"200", "1s", aMilli.want},
	"election-timeout":            aMilli,
	"enable-v2":                   aBool,
	"socket-reuse-port":           aBool,
	"raft-read-timeout":           {"7s", "7", `"7" is not a length of time such as 30s or 10m, nor 0`},
	"raft-write-timeout":          {"7s", "7", `"7" is not a length of time such as 30s or 10m, nor 0`},
	"set-member-localaddr":        aBool,

	"initial-cluster":                    {"default=http://a:1", "", ""},
	"initial-cluster-state":              {"existing", "old", `"old" is not known: want "new" or "existing"`},
	"initial-cluster-token":              aText,
	"strict-reconfig-check":              aBool,
	"max-learners":                       {"3", "0", `"0" is not a number from 1 to 2147483647`},
	"learner-auto-promote":               aBool,
	"discovery":                          {"http://d/token", "", ""},
	"discovery-proxy":                    {"http://p:1", "", ""},
	"discovery-srv":                      aText,
	"discovery-srv-name":                 aText,
	"discovery-fallback":                 {"exit", "stay", `"stay" is not known: want "exit" or "proxy"`},
	"discovery-token":                    {"0123456789abcdef0123456789abcdef", "", ""},
	"discovery-endpoints":                {"d:1", "", ""},
	"discovery-dial-timeout":             aTime,
	"discovery-request-timeout":          aTime,
	"discovery-keepalive-time":           aTime,
	"discovery-keepalive-timeout":        aTime,
	"discovery-insecure-transport":       aBool,
	"discovery-insecure-skip-tls-verify": aBool,
	"discovery-cert":                     aPath,
	"discovery-key":                      aPath,
	"discovery-cacert":                   aPath,
	"discovery-user":                     aText,
	"discovery-password":                 aText,

	"proxy":                  {"readonly", "maybe", `"maybe" is not known: want "off" or "on" or "readonly"`},
	"proxy-failure-wait":     {"700", "0", `"0" is not a number of milliseconds: want a whole number without a unit, 1 or more`},
	"proxy-refresh-interval": {"700", "0", `"0" is not a number of milliseconds: want a whole number without a unit, 1 or more`},
	"proxy-dial-timeout":     {"700", "0", `"0" is not a number of milliseconds: want a whole number without a unit, 1 or more`},
	"proxy-write-timeout":    aMilli,
	"proxy-read-timeout":     aMilli,

	"feature-gates": {"InitialCorruptCheck=true", "Bogus=true", "unrecognized feature gate: Bogus"},

	"snapshot-count":             aCount,
	"snapshot-catchup-entries":   aCount,
	"quota-backend-bytes":        aSize,
	"auto-compaction-mode":       {"revision", "weekly", `"weekly" is not known: want "periodic" or "revision"`},
	"auto-compaction-retention":  {"30m", "soon", `"soon" is neither a duration nor a number of hours: want for example 30m, 1h or 24, or 0 to keep all`},
	"corrupt-check-time":         {"7s", "7", `"7" is not a length of time such as 30s or 10m, nor 0`},
	"compact-hash-check-enabled": aBool,
	"compact-hash-check-time":    aTime,
	"initial-corrupt-check":      aBool,

	"max-request-bytes":              {"3MiB", "big", `"big" is not a number of bytes`},
	"max-txn-ops":                    {"7", "0", `"0" is not a number from 1 to 2147483647`},
	"memory-limit":                   {"3GiB", "1MiB", `"1MiB" is too little: a member needs at least 256 MiB`},
	"watch-progress-notify-interval": {"7s", "7", `"7" is not a length of time such as 30s or 10m, nor 0`},
	"max-concurrent-streams":         {"7", "0", `"0" is not a number from 1 to 4294967295`},
	"grpc-keepalive-min-time":        aTime,
	"grpc-keepalive-interval":        aTime,
	"grpc-keepalive-timeout":         aTime,

	"auth-token":     {"simple", "basic", `"basic" is not known: want simple, or jwt`},
	"auth-token-ttl": {"70", "1m", `"1m" is not a number of seconds: want a whole number without a unit, for example 300`},
	"bcrypt-cost":    {"5", "3", `"3" is not a cost of bcrypt: want a number from 4 to 31, for example 10`},
	"cors":           {"http://a", "a", `"a" is not an origin: want http://HOST[:PORT], https://HOST[:PORT] or *`},
	"host-whitelist": aText,

	"enable-console":    aBool,
	"console-read-only": aBool,

	"metrics":                           {"extensive", "all", `"all" is not known: want "basic" or "extensive"`},
	"enable-pprof":                      aBool,
	"warning-apply-duration":            {"7s", "7", `"7" is not a length of time such as 30s or 10m, nor 0`},
	"warning-unary-request-duration":    {"7s", "7", `"7" is not a length of time such as 30s or 10m, nor 0`},
	"enable-distributed-tracing":        aBool,
	"distributed-tracing-address":       {"c:1", "", ""},
	"distributed-tracing-service-name":  aText,
	"distributed-tracing-instance-id":   aText,
	"distributed-tracing-sampling-rate": {"7", "1000001", `"1000001" is not a number from 0 to 1000000`},

	"log-level":                {"warn", "loud", `"loud" is not known: want debug, info, warn or error`},
	"log-format":               {"json", "xml", `"xml" is not known: want "text" or "json"`},
	"log-outputs":              {"stdout", "systemd/other", `"systemd/other" is not known: want systemd/journal, stderr, stdout or a file`},
	"debug":                    aBool,
	"enable-log-rotation":      {"false", "maybe", aBool.want},
	"log-rotation-config-json": {`{"maxsize": 1}`, "{}x", `"{}x" is not a rotation`},
	"unsafe-no-fsync":          aBool,
	"force-new-cluster":        aBool,

	"cert-file":                         {"/c", "", ""},
	"key-file":                          {"/k", "", ""},
	"client-cert-file":                  {"/c", "", ""},
	"client-key-file":                   {"/k", "", ""},
	"trusted-ca-file":                   aPath,
	"ca-file":                           aPath,
	"client-cert-auth":                  aBool,
	"client-crl-file":                   aPath,
	"client-cert-allowed-hostname":      aText,
	"auto-tls":                          aBool,
	"peer-cert-file":                    {"/c", "", ""},
	"peer-key-file":                     {"/k", "", ""},
	"peer-client-cert-file":             {"/c", "", ""},
	"peer-client-key-file":              {"/k", "", ""},
	"peer-trusted-ca-file":              aPath,
	"peer-ca-file":                      aPath,
	"peer-client-cert-auth":             aBool,
	"peer-crl-file":                     aPath,
	"peer-auto-tls":                     aBool,
	"peer-cert-allowed-cn":              aText,
	"peer-cert-allowed-hostname":        aText,
	"peer-skip-client-san-verification": aBool,
	"self-signed-cert-validity":         {"3", "0", `"0" is not a number of years: want 1 to 1023`},
	"cipher-suites":                     {"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ROT13", "ROT13"},
	"tls-min-version":                   {"TLS1.3", "TLS1.1", "TLS1.1"},
	"tls-max-version":                   {"TLS1.2", "TLS9", "TLS9"},

	// of etcd, without effect here
	"socket-reuse-address":                 noEffect,
	"max-snapshots":                        ignored,
	"max-wals":                             ignored,
	"backend-batch-interval":               ignored,
	"backend-batch-limit":                  ignored,
	"backend-bbolt-freelist-type":          ignored,
	"bootstrap-defrag-threshold-megabytes": ignored,
	"initial-election-tick-advance":        noEffect,
	"pre-vote":                             noEffect,
	"v2-deprecation":                       ignored,
	"enable-grpc-gateway":                  noEffect,
	"wait-cluster-ready-timeout":           ignored,
	"logger":                               ignored,
	"log-package-levels":                   ignored,
	"compaction-batch-limit":               ignored,
	"compaction-sleep-interval":            ignored,
	"downgrade-check-time":                 ignored,
	"enable-lease-checkpoint":              noEffect,
	"enable-lease-checkpoint-persist":      noEffect,
	"stop-grpc-service-on-defrag":          noEffect,
	"txn-mode-write-with-shared-buffer":    noEffect,
	"enable-v2v3":                          ignored,
	"disable-log-sampling":                 noEffect,

	// of etcd 0.4
	"cluster-active-size":     ignored,
	"cluster-remove-delay":    ignored,
	"cluster-sync-interval":   ignored,
	"config":                  ignored,
	"force":                   ignored,
	"max-result-buffer":       ignored,
	"max-retry-attempts":      ignored,
	"peer-election-timeout":   ignored,
	"peer-heartbeat-interval": ignored,
	"retry-interval":          ignored,
	"snapshot":                ignored,
	"v":                       ignored,
	"vv":                      ignored,
}

// needs are flags that another one needs.
var needs = map[string]string{
	"listen-client-urls": "advertise-client-urls=http://a:1",
	"cert-file":          "key-file=/k", "key-file": "cert-file=/c",
	"client-cert-file": "client-key-file=/k", "client-key-file": "client-cert-file=/c",
	"peer-cert-file": "peer-key-file=/k", "peer-key-file": "peer-cert-file=/c",
	"peer-client-cert-file": "peer-client-key-file=/k", "peer-client-key-file": "peer-client-cert-file=/c",
	"discovery-token": "discovery-endpoints=d:1", "discovery-endpoints": "discovery-token=0123456789abcdef0123456789abcdef",
	"auto-compaction-mode": "auto-compaction-retention=9",
	"heartbeat-interval":   "election-timeout=5000",
}

// readWithOthers are options whose values are read with others: an error about one on the command
// line is no error of usage, and names the flag wherever it was given.
var readWithOthers = []string{"auto-compaction-mode", "auto-compaction-retention"}

// TestEveryFlag gives each flag, also by its earlier names, a good and a bad value from each kind
// of source, and checks the error and whether it is one of usage: exit status 2, otherwise 1.
func TestEveryFlag(t *testing.T) {
	var names []string
	for _, o := range options {
		if o.section != "General" {
			names = append(names, o.name)
		}
	}
	names = slices.Concat(names, slices.Collect(maps.Keys(unsupportedSettings)))
	for old := range renamed {
		names = append(names, old)
	}
	for _, name := range names {
		now := name
		if to, ok := renamed[name]; ok {
			now = to
		}
		c, ok := flagCases[now]
		if !ok {
			t.Errorf("--%s has no case", now)
			continue
		}
		if slices.Contains(onlyExperimental, name) {
			if _, err := load(t, []string{"--" + name + "=" + c.good}, nil, nil); err == nil || err.Error() != "unknown flag --"+name+"; see etcd --help" {
				t.Errorf("--%s, which etcd never had under this name: %v", name, err)
			}
			continue
		}
		tryFlag(t, name, now, c)
	}
	for name := range flagCases {
		if _, known := isBoolean(name); !known && !slices.Contains(onlyExperimental, name) {
			t.Errorf("there is no flag --%s", name)
		}
	}
}

func tryFlag(t *testing.T, name, now string, c flagCase) {
	t.Helper()
	other, isUnsupported := unsupportedSettings[now]
	for _, value := range []string{c.good, c.bad} {
		bad := value == c.bad && c.want != ""
		if value == "" && !bad {
			continue
		}
		for source, got := range loadFrom(t, name, value, needs[now]) {
			switch usage := new(UsageError); {
			case !bad && got.err != nil:
				t.Errorf("%s --%s=%s: %v", source, name, value, got.err)
			case !bad:
				if isUnsupported && !slices.Contains(other.neutral, value) &&
					!slices.ContainsFunc(got.c.Warnings, func(w Warning) bool { return strings.Contains(w.Setting, got.setting) && w.Reason != "" }) {
					t.Errorf("%s --%s=%s has no effect, and no warning says why: %q", source, name, value, got.c.Warnings)
				}
			case got.err == nil:
				t.Errorf("%s --%s=%s is accepted", source, name, value)
			case !strings.Contains(got.err.Error(), c.want) || !strings.Contains(got.err.Error(), got.setting) || strings.Contains(got.err.Error(), "\n"):
				t.Errorf("%s --%s=%s: %v; want %s and %s, in one line", source, name, value, got.err, got.setting, c.want)
			case errors.As(got.err, &usage) != (source == "flag" && !slices.Contains(readWithOthers, now)):
				t.Errorf("%s --%s=%s: is it an error of usage? %v", source, name, value, got.err)
			}
		}
	}
}

// loaded is the result of one kind of source, and how it names the setting.
type loaded struct {
	c       *Config
	err     error
	setting string
}

// loadFrom loads a flag from the command line, the environment and a file, in each case with
// another one that it needs.
func loadFrom(t *testing.T, name, value, beside string) map[string]loaded {
	t.Helper()
	args, environ, file := []string{"--" + name + "=" + value}, []string{VariableOf(name) + "=" + value}, name+": '"+value+"'\n"
	if beside != "" {
		other, its, _ := strings.Cut(beside, "=")
		args, environ, file = append(args, "--"+beside), append(environ, VariableOf(other)+"="+its), file+other+": '"+its+"'\n"
	}
	from := map[string]loaded{"flag": {setting: "--" + name}, "variable": {setting: VariableOf(name)}, "file": {setting: "/f: " + name}}
	for source, l := range from {
		switch source {
		case "flag":
			l.c, l.err = load(t, args, nil, nil)
		case "variable":
			l.c, l.err = load(t, nil, environ, nil)
		case "file":
			l.c, l.err = load(t, []string{"--config-file=/f"}, nil, map[string]string{"/f": file})
		}
		from[source] = l
	}
	return from
}

// TestUnknown gives each source a setting that does not exist: on the command line it is an error
// of usage, and a warning elsewhere, as in etcd.
func TestUnknown(t *testing.T) {
	for source, l := range loadFrom(t, "bogus", "1", "") {
		usage := new(UsageError)
		switch {
		case source == "flag" && (!errors.As(l.err, &usage) || l.err.Error() != "unknown flag --bogus; see etcd --help"):
			t.Errorf("flag: %v", l.err)
		case source != "flag" && (l.err != nil || len(l.c.Warnings) != 1 || l.c.Warnings[0].Setting != l.setting):
			t.Errorf("%s: %v, %+v", source, l.err, l.c)
		}
	}
}

// TestConflicts has the pairs of settings that exclude or need each other.
func TestConflicts(t *testing.T) {
	for args, want := range map[string]string{
		"--initial-cluster=default=http://a:1 --discovery=http://d/t": "multiple discovery or bootstrap flags are set",
		"--discovery-token=x":                                                                 "both --discovery-endpoints and --discovery-token must be set",
		"--discovery=http://d/t --discovery-srv=d":                                            "multiple discovery or bootstrap flags are set",
		"--listen-client-urls=http://127.0.0.1:1":                                             "--advertise-client-urls: is required with --listen-client-urls",
		"--listen-metrics-urls=https://127.0.0.1:1 --cert-file=/c":                            "--cert-file: KeyFile and CertFile must both be present",
		"--initial-cluster=default=https://a:1 --peer-key-file=/k":                            "--peer-cert-file: KeyFile and CertFile must both be present",
		"--listen-peer-urls=https://127.0.0.1:1":                                              "TLS key/cert (--peer-cert-file, --peer-key-file) must be provided for peer url https://127.0.0.1:1 with HTTPS scheme",
		"--tls-min-version=TLS1.3 --tls-max-version=TLS1.2":                                   "--tls-min-version, --tls-max-version, --cipher-suites",
		"--enable-log-rotation":                                                               "--enable-log-rotation: --log-outputs names no file",
		"--heartbeat-interval=1000":                                                           "--election-timeout: 1000 ms is less than five times --heartbeat-interval",
		"--feature-gates=InitialCorruptCheck=true --experimental-initial-corrupt-check=false": "cannot specify both flags: --experimental-initial-corrupt-check=false and --feature-gates=InitialCorruptCheck=true: want --feature-gates alone",
		"--feature-gates=CompactHashCheck=false --experimental-compact-hash-check-enabled":    "cannot specify both flags: --experimental-compact-hash-check-enabled=true and --feature-gates=CompactHashCheck=false: want --feature-gates alone",
		"--auto-compaction-mode=revision --auto-compaction-retention=x":                       `--auto-compaction-retention: "x" is not a number of revisions`,
	} {
		_, err := load(t, strings.Fields(args), nil, nil)
		usage := new(UsageError)
		if err == nil || !strings.HasPrefix(err.Error(), want) || errors.As(err, &usage) {
			t.Errorf("%s: %v, want %s, which is no error of usage", args, err, want)
		}
	}
}

// TestEmptyFlags gives flags an empty value, with which etcd 3.4.23 starts: so does ours, with the
// default and a warning.
func TestEmptyFlags(t *testing.T) {
	for _, name := range []string{
		"advertise-client-urls", "auto-compaction-retention", "data-dir", "initial-advertise-peer-urls", "listen-peer-urls", "metrics",
	} {
		args := []string{"--" + name + "="}
		if name == "advertise-client-urls" {
			args = append(args, "--listen-client-urls=http://127.0.0.1:1")
		}
		c, want := mustLoad(t, args, nil, nil), mustLoad(t, nil, nil, nil)
		if w := (Warning{Message: "setting is empty: its default counts", Setting: "--" + name}); len(c.Warnings) != 1 || c.Warnings[0] != w {
			t.Errorf("--%s=: warnings %q, want %q", name, c.Warnings, w)
		}
		c.Warnings, c.chosen, want.chosen, c.ListenClientURLs = nil, nil, nil, want.ListenClientURLs
		if !reflect.DeepEqual(c, want) {
			t.Errorf("--%s=: got\n%+v\nwant\n%+v", name, c, want)
		}
	}
	for _, name := range []string{
		"auth-token", "auto-compaction-mode", "cert-file", "client-cert-allowed-hostname", "client-crl-file", "cors", "discovery", "discovery-proxy",
		"discovery-srv", "discovery-srv-name", "experimental-backend-bbolt-freelist-type", "experimental-enable-v2v3", "host-whitelist",
		"initial-cluster-token", "key-file", "listen-metrics-urls", "log-package-levels", "peer-cert-allowed-cn", "peer-cert-allowed-hostname",
		"peer-cert-file", "peer-crl-file", "peer-key-file", "peer-trusted-ca-file", "trusted-ca-file", "wal-dir",
	} {
		mustLoad(t, []string{"--" + name + "="}, nil, nil)
	}
}

// TestUnusedTLS gives ports without TLS settings that would be refused with it: etcd starts with
// them, and so does ours, with warnings, and reads no file.
func TestUnusedTLS(t *testing.T) {
	for args, warned := range map[string]int{
		"--cert-file=/c":      1,
		"--peer-key-file=/k":  1,
		"--client-key-file=/": 1,
		"--peer-cert-allowed-cn=a --peer-cert-allowed-hostname=b --peer-cert-file=/c": 1,
	} {
		c := mustLoad(t, strings.Fields(args), nil, nil)
		if len(c.Warnings) != warned || c.Warnings[0].Reason != "no https:// URL is listened on" {
			t.Errorf("%s: warnings %q", args, c.Warnings)
		}
		for _, tls := range []*TLS{&c.ClientTLS, &c.PeerTLS} {
			if files := tls.FileFlags(""); len(files) > 0 {
				t.Errorf("%s: files of %q are used", args, files)
			}
		}
	}
}

// TestDurationsOfFiles: etcd's configuration files have durations as whole nanoseconds.
func TestDurationsOfFiles(t *testing.T) {
	n := 0
	for name, c := range flagCases {
		if !strings.Contains(c.want, "is not a length of time") {
			continue
		}
		n++
		if !isDuration(name) {
			t.Errorf("%s is not among the durations", name)
		}
		for old, now := range renamed {
			if now == name && !isDuration(old) {
				t.Errorf("%s is not among the durations", old)
			}
		}
	}
	if n < 10 {
		t.Errorf("only %d durations", n)
	}
}

// TestGatesWithoutSetting: a gate that has no effect is accepted with the reason.
func TestGatesWithoutSetting(t *testing.T) {
	for name, to := range gates {
		if to != "" {
			continue
		}
		c := mustLoad(t, []string{"--feature-gates=" + name + "=true"}, nil, nil)
		if len(c.Warnings) != 1 || c.Warnings[0].Reason != name+": "+gatesWithoutSetting[name] || gatesWithoutSetting[name] == "" {
			t.Errorf("%s: warnings %q", name, c.Warnings)
		}
		if c := mustLoad(t, []string{"--feature-gates=" + name + "=false"}, nil, nil); len(c.Warnings) != 0 {
			t.Errorf("%s, which is off: warnings %q", name, c.Warnings)
		}
	}
}
