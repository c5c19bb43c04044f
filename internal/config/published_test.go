package config

import (
	"slices"
	"strings"
	"testing"
)

// The flags of etcd's versions, as https://etcd.io/docs/VERSION/op-guide/configuration/ lists them
// and as the programs' own help does. Each list has what its version added to the one before; what
// a version removed is still known here.
const (
	flagsOf31 = `name data-dir wal-dir snapshot-count heartbeat-interval election-timeout initial-election-tick-advance
		listen-peer-urls listen-client-urls max-snapshots max-wals cors initial-advertise-peer-urls initial-cluster
		initial-cluster-state initial-cluster-token advertise-client-urls discovery discovery-srv discovery-fallback
		discovery-proxy strict-reconfig-check auto-compaction-retention quota-backend-bytes proxy proxy-failure-wait
		proxy-refresh-interval proxy-dial-timeout proxy-write-timeout proxy-read-timeout ca-file cert-file key-file
		client-cert-auth trusted-ca-file auto-tls peer-ca-file peer-cert-file peer-key-file peer-client-cert-auth
		peer-trusted-ca-file peer-auto-tls debug log-package-levels log-output force-new-cluster version config-file
		enable-pprof metrics
		cluster-active-size cluster-remove-delay cluster-sync-interval config force max-result-buffer max-retry-attempts
		peer-heartbeat-interval peer-election-timeout retry-interval snapshot v vv`
	flagsOf33 = `backend-batch-limit backend-batch-interval max-txn-ops max-request-bytes grpc-keepalive-min-time
		grpc-keepalive-interval grpc-keepalive-timeout discovery-srv-name auto-compaction-mode enable-v2 client-crl-file
		peer-crl-file peer-cert-allowed-cn cipher-suites listen-metrics-urls auth-token host-whitelist bcrypt-cost
		experimental-initial-corrupt-check experimental-corrupt-check-time experimental-enable-v2v3`
	flagsOf34 = `pre-vote logger log-outputs log-level client-cert-allowed-hostname peer-cert-allowed-hostname
		enable-grpc-gateway auth-token-ttl max-concurrent-streams unsafe-no-fsync
		experimental-backend-bbolt-freelist-type experimental-enable-lease-checkpoint
		experimental-compaction-batch-limit experimental-peer-skip-client-san-verification
		experimental-watch-progress-notify-interval experimental-warning-apply-duration`
	flagsOf35 = `backend-bbolt-freelist-type listen-client-http-urls socket-reuse-port socket-reuse-address v2-deprecation
		self-signed-cert-validity client-cert-file client-key-file peer-client-cert-file peer-client-key-file
		tls-min-version tls-max-version enable-log-rotation log-rotation-config-json
		experimental-enable-distributed-tracing experimental-distributed-tracing-address
		experimental-distributed-tracing-service-name experimental-distributed-tracing-instance-id
		experimental-distributed-tracing-sampling-rate experimental-txn-mode-write-with-shared-buffer
		experimental-bootstrap-defrag-threshold-megabytes experimental-memory-mlock experimental-downgrade-check-time
		experimental-enable-lease-checkpoint-persist experimental-warning-unary-request-duration
		experimental-compact-hash-check-enabled experimental-compact-hash-check-time experimental-max-learners
		experimental-wait-cluster-ready-timeout experimental-stop-grpc-service-on-defrag
		experimental-compaction-sleep-interval experimental-set-member-localaddr`
	flagsOf36 = `log-format raft-read-timeout raft-write-timeout feature-gates discovery-token discovery-endpoints
		discovery-dial-timeout discovery-request-timeout discovery-keepalive-time discovery-keepalive-timeout
		discovery-insecure-transport discovery-insecure-skip-tls-verify discovery-cert discovery-key discovery-cacert
		discovery-user discovery-password experimental-snapshot-catchup-entries corrupt-check-time
		compact-hash-check-time compaction-batch-limit compaction-sleep-interval peer-skip-client-san-verification
		watch-progress-notify-interval warning-apply-duration warning-unary-request-duration
		bootstrap-defrag-threshold-megabytes max-learners memory-mlock downgrade-check-time snapshot-catchup-entries
		enable-distributed-tracing distributed-tracing-address distributed-tracing-service-name
		distributed-tracing-instance-id distributed-tracing-sampling-rate`
	flagsOf37 = `disable-log-sampling`
)

// keysOf37 are the keys of etcd's configuration files that are not names of flags.
const keysOf37 = `client-transport-security.cert-file client-transport-security.key-file
	client-transport-security.client-cert-file client-transport-security.client-key-file
	client-transport-security.client-cert-auth client-transport-security.trusted-ca-file
	client-transport-security.auto-tls client-transport-security.allowed-hostname
	peer-transport-security.cert-file peer-transport-security.key-file peer-transport-security.client-cert-file
	peer-transport-security.client-key-file peer-transport-security.client-cert-auth
	peer-transport-security.trusted-ca-file peer-transport-security.auto-tls peer-transport-security.allowed-cn
	peer-transport-security.allowed-hostname peer-transport-security.skip-client-san-verification
	socket-options.reuse-port socket-options.reuse-address
	client-transport-security.ca-file peer-transport-security.ca-file`

// TestPublishedFlags checks that every published flag is known, as a flag, as a variable and as a
// key of a configuration file.
func TestPublishedFlags(t *testing.T) {
	for version, list := range map[string]string{
		"3.1": flagsOf31, "3.3": flagsOf33, "3.4": flagsOf34, "3.5": flagsOf35, "3.6": flagsOf36, "3.7": flagsOf37,
	} {
		for _, name := range strings.Fields(list) {
			if _, known := isBoolean(name); !known {
				t.Errorf("etcd %s has --%s, which is unknown here", version, name)
				continue
			}
			if slices.Contains([]string{"version", "config-file", "help"}, name) {
				continue
			}
			c := new(Config)
			if found := c.parseEnvironment([]string{VariableOf(name) + "=1"}); len(found) != 1 || len(c.Warnings) > 0 {
				t.Errorf("%s: %v, %v", VariableOf(name), found, c.Warnings)
			}
			found := map[string]setting{}
			if err := c.addKey(found, name, "/f", "1"); err != nil || len(found) != 1 || len(c.Warnings) > 0 {
				t.Errorf("the key %s: %v, %v, %v", name, err, found, c.Warnings)
			}
		}
	}
}

// TestPublishedKeys checks that every key of etcd's sections is known.
func TestPublishedKeys(t *testing.T) {
	for _, key := range strings.Fields(keysOf37) {
		section, below, _ := strings.Cut(key, ".")
		c := new(Config)
		found, err := c.parseFile(setting{value: "/f"}, func(string) ([]byte, error) {
			return []byte(section + ":\n  " + below + ": x\n"), nil
		})
		if err != nil || len(found) != 1 || len(c.Warnings) > 0 {
			t.Errorf("%s: %v, %v, %v", key, err, found, c.Warnings)
		}
	}
}

// TestFlagsOfEtcd04 gives flags that etcd ignores, with and without a value.
func TestFlagsOfEtcd04(t *testing.T) {
	for _, args := range [][]string{{"-v"}, {"--vv"}, {"--cluster-active-size=9"}, {"--snapshot", "--force"}, {"--peer-heartbeat-interval=x"}} {
		c := mustLoad(t, args, nil, nil)
		if len(c.Warnings) != len(args) || c.Warnings[0].Reason != ofEtcd04 {
			t.Errorf("%q: warnings %q", args, c.Warnings)
		}
	}
}

// TestLogOutput gives --log-outputs by its old name.
func TestLogOutput(t *testing.T) {
	if c := mustLoad(t, []string{"--log-output=stdout"}, nil, nil); !slices.Equal(c.LogOutputs, []string{"stdout"}) || len(c.Warnings) > 0 {
		t.Errorf("outputs %q, warnings %q", c.LogOutputs, c.Warnings)
	}
}
