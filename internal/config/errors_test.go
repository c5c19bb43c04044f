package config

import (
	"errors"
	"testing"
)

// TestErrors checks every error text. An error of usage ends the program with status 2, as in etcd.
func TestErrors(t *testing.T) {
	const exit1, exit2 = false, true
	for _, c := range []struct {
		args  []string
		usage bool
		want  string
	}{
		{[]string{"--bogus"}, exit2, "unknown flag --bogus; see etcd --help"},
		{[]string{"-bogus=1"}, exit2, "unknown flag --bogus; see etcd --help"},
		{[]string{"--=x"}, exit2, "unknown flag --; see etcd --help"},
		{[]string{"--enable-v2v3", "x"}, exit2, "unknown flag --enable-v2v3; see etcd --help"},
		{[]string{"--name"}, exit2, "--name: has no value; see etcd --help"},
		{[]string{"extra", "arguments"}, exit1, `unexpected argument "extra": etcd takes flags only; see etcd --help`},
		{[]string{"--enable-v2", "false"}, exit1, `unexpected argument "false": the value of a boolean flag goes after "=", as in --enable-v2=false; see etcd --help`},

		{[]string{"--name", ""}, exit2, "--name: is empty: give it a value or leave it out"},
		{[]string{"--name", "a=b"}, exit2, `--name: "a=b" has a comma or an equals sign, which --initial-cluster could not hold: want another name`},
		{[]string{"--listen-client-urls", "nonsense"}, exit2, `--listen-client-urls: "nonsense" is not a URL: want http://HOST:PORT, https://HOST:PORT, unix://PATH or unixs://PATH`},
		{[]string{"--listen-client-urls", "127.0.0.1:2379"}, exit2, `--listen-client-urls: "127.0.0.1:2379" is not a URL: want http://HOST:PORT, https://HOST:PORT, unix://PATH or unixs://PATH`},
		{[]string{"--listen-client-urls", "localhost:2379"}, exit2, `--listen-client-urls: "localhost:2379" is not a URL: want http://HOST:PORT, https://HOST:PORT, unix://PATH or unixs://PATH`},
		{[]string{"--listen-client-urls", "ftp://127.0.0.1:1"}, exit2, `--listen-client-urls: "ftp://127.0.0.1:1" has the scheme "ftp": want http://HOST:PORT, https://HOST:PORT, unix://PATH or unixs://PATH`},
		{[]string{"--listen-client-urls", "unix://"}, exit2, `--listen-client-urls: "unix://" has no usable path: want unix://PATH`},
		{[]string{"--listen-peer-urls", "http://127.0.0.1"}, exit2, `--listen-peer-urls: "http://127.0.0.1" has no port: want http://HOST:PORT`},
		{[]string{"--listen-peer-urls", "http://127.0.0.1:"}, exit2, `--listen-peer-urls: "http://127.0.0.1:" has no port: want http://HOST:PORT`},
		{[]string{"--listen-peer-urls", "http://127.0.0.1:70000"}, exit2, `--listen-peer-urls: "http://127.0.0.1:70000" has the port 70000: want one up to 65535`},
		{[]string{"--listen-peer-urls", "http://127.0.0.1:1/"}, exit2, `--listen-peer-urls: "http://127.0.0.1:1/" has more than a host and a port: want http://127.0.0.1:1`},
		{[]string{"--listen-peer-urls", "http://127.0.0.1:1,"}, exit2, `--listen-peer-urls: "" is not a URL: want http://HOST:PORT, https://HOST:PORT, unix://PATH or unixs://PATH`},
		{[]string{"--heartbeat-interval", "x"}, exit2, `--heartbeat-interval: "x" is not a number of milliseconds: want a whole number without a unit, for example 100`},
		{[]string{"--heartbeat-interval", "100ms"}, exit2, `--heartbeat-interval: "100ms" is not a number of milliseconds: want a whole number without a unit, for example 100`},
		{[]string{"--snapshot-count", "-1"}, exit2, `--snapshot-count: "-1" is not a number: want 0 or more`},
		{[]string{"--quota-backend-bytes", "8X"}, exit2, `--quota-backend-bytes: "8X" is not a number of bytes: want for example 2147483648, 2GB or 2GiB`},
		{[]string{"--quota-backend-bytes", "9000000TiB"}, exit2, `--quota-backend-bytes: "9000000TiB" is not a number of bytes: want for example 2147483648, 2GB or 2GiB`},
		{[]string{"--watch-progress-notify-interval", "-1s"}, exit2, `--watch-progress-notify-interval: "-1s" is not a length of time such as 30s or 10m, nor 0`},
		{[]string{"--max-txn-ops", "0"}, exit2, `--max-txn-ops: "0" is not a number from 1 to 2147483647`},
		{[]string{"--max-request-bytes", "4294967296"}, exit2, `--max-request-bytes: "4294967296" is not a number of bytes from 1 to 2147483647`},
		{[]string{"--auth-token", "opaque"}, exit2, `--auth-token: "opaque" is not known: ` + authTokenForm},
		{[]string{"--auth-token", "simple,ttl=1m"}, exit2, `--auth-token: "simple,ttl=1m": simple tokens have no options: ` + authTokenForm},
		{[]string{"--auth-token", "jwt"}, exit2, "--auth-token: jwt needs sign-method: " + authTokenForm},
		{[]string{"--auth-token", "jwt,"}, exit2, `--auth-token: "" has no value: ` + authTokenForm},
		{[]string{"--auth-token", "jwt,priv-key=k"}, exit2, "--auth-token: jwt needs sign-method: " + authTokenForm},
		{[]string{"--auth-token", "jwt,priv-key=,sign-method=RS256"}, exit2, `--auth-token: "priv-key=" has no value: ` + authTokenForm},
		{[]string{"--auth-token", "jwt,sign-method=RS256,key=k"}, exit2, `--auth-token: "key" is not an option of jwt: ` + authTokenForm},
		{[]string{"--auth-token", "jwt,sign-method=RS256,ttl=5"}, exit2, "--auth-token: ttl=5: is not a length of time: want for example 10m"},
		{[]string{"--auth-token-ttl", "5m"}, exit2, `--auth-token-ttl: "5m" is not a number of seconds: want a whole number without a unit, for example 300`},
		{[]string{"--bcrypt-cost", "3"}, exit2, `--bcrypt-cost: "3" is not a cost of bcrypt: want a number from 4 to 31, for example 10`},
		{[]string{"--initial-cluster-state", "old"}, exit2, `--initial-cluster-state: "old" is not known: want "new" or "existing"`},
		{[]string{"--enable-v2=maybe"}, exit2, `--enable-v2: "maybe" is neither true nor false`},
		{[]string{"--log-level", "loud"}, exit2, `--log-level: "loud" is not known: want debug, info, warn or error`},
		{[]string{"--log-format", "xml"}, exit2, `--log-format: "xml" is not known: want "text" or "json"`},
		{[]string{"--log-outputs", ","}, exit2, `--log-outputs: is empty: want stderr, stdout or a file`},
		{[]string{"--log-outputs", "systemd/syslog"}, exit2, `--log-outputs: "systemd/syslog" is not known: want systemd/journal, stderr, stdout or a file`},

		{[]string{"--listen-client-urls", "http://127.0.0.1:1"}, exit1, "--advertise-client-urls: is required with --listen-client-urls: give the URLs at which clients reach this member"},
		{[]string{"--listen-peer-urls", "http://example.org:1"}, exit1, `--listen-peer-urls: "http://example.org:1" has the host "example.org": want an IP address of this machine to listen on, 0.0.0.0 for all, or localhost`},
		{[]string{"--listen-peer-urls", "http://:1"}, exit1, `--listen-peer-urls: "http://:1" has the host "": want an IP address of this machine to listen on, 0.0.0.0 for all, or localhost`},
		{[]string{"--listen-metrics-urls", "https://127.0.0.1:1"}, exit1, "TLS key/cert (--cert-file, --key-file) must be provided for client url https://127.0.0.1:1 with HTTPS scheme"},
		{[]string{"--listen-peer-urls", "https://127.0.0.1:1"}, exit1, "TLS key/cert (--peer-cert-file, --peer-key-file) must be provided for peer url https://127.0.0.1:1 with HTTPS scheme"},
		{[]string{"--listen-metrics-urls", "https://127.0.0.1:1", "--cert-file", "c"}, exit1, "--cert-file: KeyFile and CertFile must both be present[key: , cert: c]"},
		{[]string{"--initial-cluster", "default=https://a:1", "--peer-cert-allowed-cn", "a", "--peer-cert-allowed-hostname", "b"}, exit1, `--peer-cert-file: AllowedCN and AllowedHostname are mutually exclusive (cn=["a"], hostname=["b"])`},
		{[]string{"--cipher-suites", "NONE"}, exit2, `--cipher-suites: unexpected TLS cipher suite "NONE"`},
		{[]string{"--tls-min-version", "TLS1.1"}, exit2, `--tls-min-version: unexpected TLS version "TLS1.1" (must be one of: TLS1.2, TLS1.3)`},
		{[]string{"--tls-min-version", "TLS1.3", "--tls-max-version", "TLS1.2"}, exit1, "--tls-min-version, --tls-max-version, --cipher-suites: min version (TLS 1.3) is greater than max version (TLS 1.2)"},
		{[]string{"--tls-min-version", "TLS1.3", "--cipher-suites", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}, exit1, "--tls-min-version, --tls-max-version, --cipher-suites: cipher suites cannot be configured when only TLS1.3 is enabled"},
		{[]string{"--self-signed-cert-validity", "0"}, exit2, `--self-signed-cert-validity: "0" is not a number of years: want 1 to 1023`},
		{[]string{"--enable-log-rotation"}, exit1, "--enable-log-rotation: --log-outputs names no file: name one, or leave --enable-log-rotation out"},
		{[]string{"--log-rotation-config-json", "{"}, exit2, `--log-rotation-config-json: "{" is not a rotation: unexpected EOF: want for example ` + defaultRotation},
		{[]string{"--listen-client-urls", "", "--advertise-client-urls", "http://a:1"}, exit1, "--listen-client-urls: is empty: want http://IP:PORT[,http://IP:PORT…]"},
		{[]string{"--advertise-client-urls", "http://:1"}, exit1, `--advertise-client-urls: "http://:1" has no host: want an address that others can reach`},
		{[]string{"--heartbeat-interval", "0"}, exit1, "--heartbeat-interval: is 0 ms: want 1 ms or more"},
		{[]string{"--election-timeout", "50"}, exit1, "--election-timeout: 50 ms is less than five times --heartbeat-interval (100 ms): want 500 ms or more"},
		{[]string{"--election-timeout", "50001"}, exit1, "--election-timeout: 50001 ms is more than 50000 ms"},
		{[]string{"--auto-compaction-mode", "weekly"}, exit1, `--auto-compaction-mode: "weekly" is not known: want "periodic" or "revision"`},
		{[]string{"--auto-compaction-retention", "soon"}, exit1, `--auto-compaction-retention: "soon" is neither a duration nor a number of hours: want for example 30m, 1h or 24, or 0 to keep all`},
		{[]string{"--auto-compaction-retention", "-1h"}, exit1, `--auto-compaction-retention: "-1h" is neither a duration nor a number of hours: want for example 30m, 1h or 24, or 0 to keep all`},
		{[]string{"--auto-compaction-mode=revision", "--auto-compaction-retention=many"}, exit1, `--auto-compaction-retention: "many" is not a number of revisions, which --auto-compaction-mode=revision takes: want for example 10000, or 0 to keep all`},

		{[]string{"--discovery-token", "x"}, exit1, "both --discovery-endpoints and --discovery-token must be set: 'etcdctl discovery new' prints the two"},
		{[]string{"--discovery-endpoints", "http://127.0.0.1:1"}, exit1, "both --discovery-endpoints and --discovery-token must be set: 'etcdctl discovery new' prints the two"},
		{[]string{"--discovery-token", "a/b", "--discovery-endpoints", "http://127.0.0.1:1"}, exit2, `--discovery-token: "a/b" is not a token: want letters, digits, - and _`},
		{[]string{"--discovery-token", "x", "--discovery-endpoints", "a,,b"}, exit1, "--discovery-endpoints: contains an empty endpoint: want HOST:PORT[,HOST:PORT…]"},
		{[]string{"--discovery-token", "x", "--discovery-endpoints", "a:1", "--discovery-cert", "c"}, exit1, "--discovery-cert, --discovery-key: want both or neither"},
		{
			[]string{"--discovery-srv", "example.com", "--initial-cluster", "default=http://localhost:2380"},
			exit1,
			`multiple discovery or bootstrap flags are set. Choose one of "initial-cluster", "discovery", "discovery-endpoints" or "discovery-srv": given are --initial-cluster and --discovery-srv`,
		},
		{[]string{"--auto-tls=x"}, exit2, `--auto-tls: "x" is neither true nor false`},
		{[]string{"--cors", "http://a/b"}, exit2, `--cors: "http://a/b" is not an origin: want http://HOST[:PORT], https://HOST[:PORT] or *`},
		{[]string{"--cors", "a.example"}, exit2, `--cors: "a.example" is not an origin: want http://HOST[:PORT], https://HOST[:PORT] or *`},
		{[]string{"--max-concurrent-streams", "0"}, exit2, `--max-concurrent-streams: "0" is not a number from 1 to 4294967295`},
		{[]string{"--grpc-keepalive-interval", "7"}, exit2, `--grpc-keepalive-interval: "7" is not a length of time such as 30s or 10m`},
		{[]string{"--metrics", "all"}, exit2, `--metrics: "all" is not known: want "basic" or "extensive"`},
		{[]string{"--feature-gates", "A=true"}, exit2, "--feature-gates: unrecognized feature gate: A"},
		{[]string{"--feature-gates", "InitialCorruptCheck"}, exit2, "--feature-gates: missing bool value for feature gate InitialCorruptCheck: want NAME=true"},
		{[]string{"--feature-gates", "InitialCorruptCheck=x"}, exit2, `--feature-gates: invalid value of InitialCorruptCheck: "x" is neither true nor false`},
		{[]string{"--proxy", "maybe"}, exit2, `--proxy: "maybe" is not known: want "off" or "on" or "readonly"`},
		{[]string{"--proxy-failure-wait", "0"}, exit2, `--proxy-failure-wait: "0" is not a number of milliseconds: want a whole number without a unit, 1 or more`},
		{[]string{"--experimental-corrupt-check-time=-1s"}, exit2, `--experimental-corrupt-check-time: "-1s" is not a length of time such as 30s or 10m, nor 0`},
	} {
		_, err := load(t, c.args, nil, nil)
		if err == nil {
			t.Errorf("%q: no error, want %s", c.args, c.want)
			continue
		}
		if err.Error() != c.want {
			t.Errorf("%q\n got %s\nwant %s", c.args, err, c.want)
		}
		if usage := new(UsageError); errors.As(err, &usage) != c.usage {
			t.Errorf("%q: error of usage is %v, want %v", c.args, !c.usage, c.usage)
		}
	}
}

// TestErrorsElsewhere checks the errors of variables and files, which are never errors of usage.
func TestErrorsElsewhere(t *testing.T) {
	for _, c := range []struct {
		environ []string
		file    string
		want    string
	}{
		{[]string{"ETCD_HEARTBEAT_INTERVAL=x"}, "", `ETCD_HEARTBEAT_INTERVAL: "x" is not a number of milliseconds: want a whole number without a unit, for example 100`},
		{[]string{"ETCD_CERT_FILE=/c", "ETCD_LISTEN_METRICS_URLS=https://127.0.0.1:1"}, "", "--cert-file: KeyFile and CertFile must both be present[key: , cert: /c]"},
		{[]string{"ETCD_LISTEN_CLIENT_URLS=http://127.0.0.1:1"}, "", "--advertise-client-urls: is required with --listen-client-urls: give the URLs at which clients reach this member"},
		{[]string{"ETCD_CONFIG_FILE=/none"}, "", "ETCD_CONFIG_FILE: read configuration file /none: file does not exist"},
		{[]string{"ETCD_CONFIG_FILE=/f"}, "a: [", "ETCD_CONFIG_FILE: configuration file /f: is not YAML: line 1: did not find expected node content"},
		{[]string{"ETCD_CONFIG_FILE=/f"}, "- a", "ETCD_CONFIG_FILE: configuration file /f: is not a list of settings: want lines like name: default"},
		{[]string{"ETCD_CONFIG_FILE=/f"}, "name: {a: b}", "/f: name: has keys below it: want a value or a list"},
		{[]string{"ETCD_CONFIG_FILE=/f"}, "heartbeat-interval: 0.5", `/f: heartbeat-interval: "0.5" is not a number of milliseconds: want a whole number without a unit, for example 100`},
		{[]string{"ETCD_CONFIG_FILE=/f"}, "client-transport-security: {cert-file: /c}\nlisten-metrics-urls: https://127.0.0.1:1", "--cert-file: KeyFile and CertFile must both be present[key: , cert: /c]"},
		{[]string{"ETCD_CONFIG_FILE=/f"}, "peer-transport-security: {cert-file: x}\ninitial-advertise-peer-urls: https://a:1", "--peer-cert-file: KeyFile and CertFile must both be present[key: , cert: x]"},
		{[]string{"ETCD_CONFIG_FILE=/f"}, "peer-transport-security: x", "/f: peer-transport-security: want the section's keys below it"},
	} {
		_, err := load(t, nil, c.environ, map[string]string{"/f": c.file})
		if err == nil || err.Error() != c.want {
			t.Errorf("%q %q\n got %v\nwant %s", c.environ, c.file, err, c.want)
		}
		if usage := new(UsageError); errors.As(err, &usage) {
			t.Errorf("%q %q: is an error of usage", c.environ, c.file)
		}
	}
}

func TestFoundersErrors(t *testing.T) {
	for _, c := range []struct{ cluster, want string }{
		{"other=http://localhost:2380", `--initial-cluster: member "default", which --name makes this one, is not in "other=http://localhost:2380": add default=http://localhost:2380`},
		{"default=http://localhost:2380,n2", `--initial-cluster: member "n2" has no URL: want NAME=URL[,NAME=URL…]`},
		{"default=http://localhost:2380,n2=", `--initial-cluster: member "n2" has no URL: want NAME=URL[,NAME=URL…]`},
		{"=http://localhost:2380", `--initial-cluster: URL "http://localhost:2380" has no member: want NAME=URL[,NAME=URL…]`},
		{",", `--initial-cluster: is empty: want NAME=URL[,NAME=URL…]`},
		{"default=localhost", `--initial-cluster: member "default": "localhost" is not a URL: want http://HOST:PORT, https://HOST:PORT, unix://PATH or unixs://PATH`},
		{"default=http://localhost:2380,n2=http://localhost:2380", `--initial-cluster: members "default" and "n2" have the same URL http://localhost:2380`},
		{"default=http://localhost:2380,default=http://LOCALHOST:2380", `--initial-cluster: member "default" has the URL http://LOCALHOST:2380 twice`},
		{"default=http://localhost:2381", `--initial-advertise-peer-urls: http://localhost:2380 differs from what --initial-cluster has for "default", http://localhost:2381: want the same URLs in both`},
	} {
		cfg, err := load(t, []string{"--initial-cluster", c.cluster}, nil, nil)
		if err != nil {
			t.Errorf("%q: Load looked at it: %v", c.cluster, err)
			continue
		}
		if _, err := cfg.Founders(t.Context(), noLookup); err == nil || err.Error() != c.want {
			t.Errorf("%q\n got %v\nwant %s", c.cluster, err, c.want)
		}
	}
}
