package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestDebianFlags sets the flags in the help of Debian's etcd 3.4: each is supported, accepted with
// its default value, or refused by name; none is unknown.
func TestDebianFlags(t *testing.T) {
	for _, c := range []struct{ name, preset string }{
		{"name", "default"},
		{"data-dir", "d"},
		{"wal-dir", ""},
		{"snapshot-count", "100000"},
		{"heartbeat-interval", "100"},
		{"election-timeout", "1000"},
		{"initial-election-tick-advance", "true"},
		{"listen-peer-urls", "http://localhost:2380"},
		{"max-snapshots", "5"},
		{"max-wals", "5"},
		{"quota-backend-bytes", "0"},
		{"backend-batch-interval", ""},
		{"backend-batch-limit", "0"},
		{"max-txn-ops", "128"},
		{"max-request-bytes", "1572864"},
		{"grpc-keepalive-min-time", "5s"},
		{"grpc-keepalive-interval", "2h"},
		{"grpc-keepalive-timeout", "20s"},
		{"initial-advertise-peer-urls", "http://localhost:2380"},
		{"initial-cluster", "default=http://localhost:2380"},
		{"initial-cluster-state", "new"},
		{"initial-cluster-token", "etcd-cluster"},
		{"advertise-client-urls", "http://localhost:2379"},
		{"discovery", ""},
		{"discovery-fallback", "proxy"},
		{"discovery-proxy", ""},
		{"discovery-srv", ""},
		{"discovery-srv-name", ""},
		{"strict-reconfig-check", "true"},
		{"auto-compaction-retention", "0"},
		{"auto-compaction-mode", "periodic"},
		{"enable-v2", "false"},
		{"cert-file", ""},
		{"key-file", ""},
		{"client-cert-auth", "false"},
		{"client-crl-file", ""},
		{"client-cert-allowed-hostname", ""},
		{"trusted-ca-file", ""},
		{"auto-tls", "false"},
		{"peer-cert-file", ""},
		{"peer-key-file", ""},
		{"peer-client-cert-auth", "false"},
		{"peer-trusted-ca-file", ""},
		{"peer-cert-allowed-cn", ""},
		{"peer-cert-allowed-hostname", ""},
		{"peer-auto-tls", "false"},
		{"peer-crl-file", ""},
		{"cipher-suites", ""},
		{"cors", "*"},
		{"host-whitelist", "*"},
		{"enable-pprof", "false"},
		{"metrics", "basic"},
		{"listen-metrics-urls", ""},
		{"logger", "capnslog"},
		{"log-outputs", "default"},
		{"log-level", "info"},
		{"proxy", "off"},
		{"proxy-failure-wait", "5000"},
		{"proxy-refresh-interval", "30000"},
		{"proxy-dial-timeout", "1000"},
		{"proxy-write-timeout", "5000"},
		{"proxy-read-timeout", "0"},
		{"experimental-initial-corrupt-check", "false"},
		{"experimental-corrupt-check-time", "0s"},
		{"experimental-enable-v2v3", ""},
		{"experimental-backend-bbolt-freelist-type", "array"},
		{"experimental-enable-lease-checkpoint", "false"},
		{"experimental-compaction-batch-limit", "1000"},
		{"experimental-peer-skip-client-san-verification", "false"},
		{"experimental-watch-progress-notify-interval", "10m"},
		{"experimental-warning-apply-duration", "100ms"},
		{"force-new-cluster", "false"},
		{"debug", "false"},
		{"log-package-levels", ""},
	} {
		if _, err := load(t, []string{"--" + c.name + "=" + c.preset}, nil, nil); err != nil {
			t.Errorf("etcd's default --%s=%s: %v", c.name, c.preset, err)
		}
	}
}

func TestTablesDoNotOverlap(t *testing.T) {
	for name := range unsupportedSettings {
		if optionsByName[name] != nil {
			t.Errorf("--%s is supported and unsupported", name)
		}
		if strings.HasPrefix(name, "experimental-") {
			t.Errorf("--%s belongs into renamed", name)
		}
	}
	for from, to := range renamed {
		if _, ok := unsupportedSettings[to]; !ok && optionsByName[to] == nil {
			t.Errorf("--%s is renamed to --%s, which is in no table", from, to)
		}
	}
	for _, name := range onlyExperimental {
		if renamed["experimental-"+name] != name {
			t.Errorf("%s is in onlyExperimental, but not in renamed", name)
		}
	}
}

// TestSampleFile reads a file with the keys of etcd's own sample, which has every section and keys
// without values.
func TestSampleFile(t *testing.T) {
	c := mustLoad(t, []string{"--config-file", "/f"}, nil, map[string]string{"/f": `
# comment
name: 'n1'
data-dir:
wal-dir:
snapshot-count: 10000
heartbeat-interval: 100
election-timeout: 1000
quota-backend-bytes: 8589934592
listen-peer-urls: http://localhost:2380
max-snapshots: 5
max-wals: 5
cors:
initial-cluster:
discovery-fallback: 'proxy'
strict-reconfig-check: true
enable-pprof: true
proxy: 'off'
proxy-failure-wait: 5000
client-transport-security:
  cert-file:
  client-cert-auth: false
  auto-tls: false
peer-transport-security:
  cert-file:
  client-cert-auth: false
self-signed-cert-validity: 1
log-level: debug
logger: zap
log-outputs: [stderr, /tmp/l]
force-new-cluster: false
auto-compaction-mode: periodic
auto-compaction-retention: "1"
cipher-suites: [
  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
]
tls-min-version: 'TLS1.2'
tls-max-version: 'TLS1.3'
`})
	if c.Name != "n1" || c.DataDir != "n1.etcd" || c.QuotaBackendBytes != 8589934592 || !c.EnablePprof || len(c.LogOutputs) != 2 || c.File != "/f" {
		t.Errorf("got %+v", c)
	}
	if len(c.Warnings) != 2 { // max-snapshots, max-wals; logger zap is neutral
		t.Errorf("warnings %q", c.Warnings)
	}
}

func FuzzFile(f *testing.F) {
	for _, s := range []string{"name: a", "a: [", "peer-transport-security: {cert-file: x}", "log-outputs: [[a], null, 1e9]", "name: a\nname: b", "1: 2", "? [a]\n: b", "&a [*a]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := load(t, []string{"--config-file", "/f"}, nil, map[string]string{"/f": text})
		if (c == nil) == (err == nil) {
			t.Errorf("config %v, error %v", c, err)
		}
		if c != nil && (c.Name == "" || len(c.ListenClientURLs) == 0 || len(c.LogOutputs) == 0) {
			t.Errorf("incomplete: %+v", c)
		}
	})
}

func FuzzParseURL(f *testing.F) {
	for _, s := range []string{"http://127.0.0.1:2379", "http://[::1]:1", "https://a:1/", "unix://x", "://", "http://a:b@c:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := ParseURL(text)
		if err != nil {
			return
		}
		if again, err := ParseURL(u.String()); err != nil || again != u {
			t.Errorf("ParseURL(%q) = %v, which reads back as %v, %v", text, u, again, err)
		}
	})
}

// TestEffectiveStartsTheSame loads the output of EffectiveText as a configuration file.
func TestEffectiveStartsTheSame(t *testing.T) {
	c := mustLoad(t, []string{
		"--name=n1", "--listen-client-urls=https://127.0.0.1:1", "--advertise-client-urls=https://a:1", "--cert-file=c", "--key-file=k",
		"--quota-backend-bytes=2GiB", "--experimental-initial-corrupt-check", "--auto-compaction-mode=revision", "--auto-compaction-retention=9",
	}, []string{"ETCD_LOG_LEVEL=warn"}, nil)
	text := c.EffectiveText()
	for _, want := range []string{"name: \"n1\" # --name\n", "log-level: \"warn\" # ETCD_LOG_LEVEL\n", "heartbeat-interval: \"100\"\n", "initial-cluster: \"n1=http://localhost:2380\"\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	again := mustLoad(t, []string{"--config-file=/f"}, nil, map[string]string{"/f": text})
	again.File, c.File, again.DataDirDefaulted, again.chosen, c.chosen = "", "", c.DataDirDefaulted, nil, nil
	// 0 and none mean the same
	again.MaxConcurrentStreams, again.HostWhitelist = c.MaxConcurrentStreams, c.HostWhitelist
	if !reflect.DeepEqual(again, c) {
		t.Errorf("read back\n%+v\nwant\n%+v", again, c)
	}
}

// TestEffectiveOfEveryFlag loads, for each flag by each of its names and for each feature gate, the
// output of EffectiveText as a configuration file: it starts the same member, without further
// warnings.
func TestEffectiveOfEveryFlag(t *testing.T) {
	cases := map[string]string{} // by arguments: the flag
	for now, c := range flagCases {
		if o := optionsByName[now]; o == nil || slices.Contains(secrets, now) {
			continue
		}
		cases["--"+now+"="+c.good] = now
		for old, to := range renamed {
			if to == now {
				cases["--"+old+"="+c.good] = now
			}
		}
		if c.good == "true" {
			cases["--"+now+"=false"] = now
		}
	}
	for gate := range gates {
		cases["--feature-gates="+gate+"=true"] = "feature-gates"
		cases["--feature-gates="+gate+"=false"] = "feature-gates"
	}
	for arg, flag := range cases {
		args := []string{arg}
		if other := needs[flag]; other != "" {
			args = append(args, "--"+other)
		}
		c := mustLoad(t, args, nil, nil)
		text := c.EffectiveText()
		again, err := load(t, []string{"--config-file=/f"}, nil, map[string]string{"/f": text})
		if err != nil {
			t.Errorf("%q: %v in\n%s", args, err, text)
			continue
		}
		for _, w := range again.Warnings {
			known := func(of Warning) bool { return of.Message == w.Message }
			if !slices.ContainsFunc(c.Warnings, known) {
				t.Errorf("%q: read back, it warns of %v", args, w)
			}
		}
		for _, loaded := range []*Config{c, again} {
			loaded.File, loaded.DataDirDefaulted, loaded.chosen, loaded.Warnings = "", false, nil, nil
			// 0 and none mean the same as the defaults that are printed
			if flag != "max-concurrent-streams" {
				loaded.MaxConcurrentStreams = 0
			}
			if flag != "host-whitelist" {
				loaded.HostWhitelist = nil
			}
		}
		if !reflect.DeepEqual(again, c) {
			t.Errorf("%q: read back\n%+v\nwant\n%+v", args, again, c)
		}
	}
}

// TestTwoNames gives options by an earlier name and by the current one: as in etcd 3.6 the earlier
// one counts, but a flag goes before a variable.
func TestTwoNames(t *testing.T) {
	for old, now := range renamed {
		if optionsByName[now] == nil {
			continue
		}
		value, other := flagCases[now].good, "false"
		switch {
		case value == "true":
		case isDuration(now):
			other = "9s"
		case now == "log-outputs":
			other = "stderr"
		default:
			other = value + "0"
		}
		for _, c := range []struct {
			args, environ []string
			want, not     string // sources
		}{
			{[]string{"--" + old + "=" + value, "--" + now + "=" + other}, nil, "--" + old, "--" + now},
			{nil, []string{VariableOf(old) + "=" + value, VariableOf(now) + "=" + other}, VariableOf(old), VariableOf(now)},
			{[]string{"--" + now + "=" + value}, []string{VariableOf(old) + "=" + other}, "--" + now, VariableOf(old)},
			{[]string{"--" + old + "=" + value}, []string{VariableOf(now) + "=" + other}, "--" + old, VariableOf(now)},
		} {
			got := mustLoad(t, c.args, c.environ, nil)
			want := mustLoad(t, []string{"--" + now + "=" + value}, nil, nil)
			if w := (Warning{"setting has no effect", c.not, c.want + " is given as well"}); len(got.Warnings) != 1 || got.Warnings[0] != w {
				t.Errorf("%q %q: warnings %q, want %q", c.args, c.environ, got.Warnings, w)
			}
			if line := now + `: "` + value + `" # ` + c.want + "\n"; !strings.Contains(got.EffectiveText(), line) {
				t.Errorf("%q %q: no line %s", c.args, c.environ, line)
			}
			for _, loaded := range []*Config{got, want} {
				loaded.chosen, loaded.Warnings = nil, nil
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%q %q: got\n%+v\nwant\n%+v", c.args, c.environ, got, want)
			}
		}
		if c := mustLoad(t, []string{"--" + old + "=" + value, "--" + now + "=" + value}, nil, nil); len(c.Warnings) > 0 {
			t.Errorf("--%s and --%s with the same value: warnings %q", old, now, c.Warnings)
		}
	}
}

// TestEffectiveMasks checks that no password is shown, by whatever way it was given.
func TestEffectiveMasks(t *testing.T) {
	const secret = "p@ss"
	for _, c := range []struct{ args, want []string }{
		{
			[]string{"--discovery-token=t", "--discovery-endpoints=http://u:" + secret + "@a:1,http://v:" + secret + "@b:2", "--discovery-user=u", "--discovery-password=" + secret},
			[]string{`discovery-endpoints: "http://u:********@a:1,http://v:********@b:2"`, `discovery-user: "********"`, `discovery-password: "********"`},
		},
		{
			[]string{"--discovery=https://u:" + secret + "@h/id", "--discovery-proxy=http://v:" + secret + "@h:3128"},
			[]string{`discovery: "https://u:********@h/id"`, `discovery-proxy: "http://v:********@h:3128"`},
		},
		{
			[]string{"--listen-client-urls=http://127.0.0.1:1,http://127.0.0.1:2", "--advertise-client-urls=http://127.0.0.1:1"},
			[]string{`listen-client-urls: "http://127.0.0.1:1,http://127.0.0.1:2"`},
		},
	} {
		text := mustLoad(t, c.args, nil, nil).EffectiveText()
		for _, want := range c.want {
			if !strings.Contains(text, want) {
				t.Errorf("%q: no %s in\n%s", c.args, want, text)
			}
		}
		if strings.Contains(text, secret) || strings.Contains(text, "ss@") {
			t.Errorf("%q: the password is in\n%s", c.args, text)
		}
	}
}

// TestMaskArguments masks secrets in each form of the command line.
func TestMaskArguments(t *testing.T) {
	for args, want := range map[string]string{
		"--discovery-password=pw --name n":              "--discovery-password=******** --name n",
		"-discovery-password pw --discovery-user u -v":  "-discovery-password ******** --discovery-user ******** -v",
		"--discovery-password --discovery-user x":       "--discovery-password ******** x",
		"--discovery https://u:pw@h/id --cert-file a=b": "--discovery https://u:********@h/id --cert-file a=b",
		"--discovery-proxy=http://u:p:w@h:1":            "--discovery-proxy=http://u:********@h:1",
		"discovery-user x":                              "discovery-user x",
	} {
		if got := strings.Join(MaskArguments(strings.Fields(args)), " "); got != want {
			t.Errorf("%s: %s, want %s", args, got, want)
		}
	}
}
