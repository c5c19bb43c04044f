package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"cairn/test/pki"
)

// deployments are command lines of deployed systems, recreated from their documentation.
// Their addresses, directories and certificates are the test's. Package config tests the resulting
// settings; here a member must become ready.
var deployments = map[string]struct {
	args    string
	environ []string
	file    string // etcd.yml
}{
	"etcd's sample file": {args: "--config-file etcd.yml", file: `
name: 'default'
data-dir: DIR/data
wal-dir:
snapshot-count: 10000
heartbeat-interval: 100
election-timeout: 1000
quota-backend-bytes: 0
listen-peer-urls: http://127.0.0.1:0
listen-client-urls: http://127.0.0.1:0
max-snapshots: 5
max-wals: 5
cors:
initial-advertise-peer-urls: http://localhost:2380
advertise-client-urls: http://localhost:2379
discovery:
discovery-fallback: 'proxy'
discovery-proxy:
discovery-srv:
initial-cluster:
initial-cluster-token: 'etcd-cluster'
initial-cluster-state: 'new'
strict-reconfig-check: false
enable-pprof: true
proxy: 'off'
proxy-failure-wait: 5000
proxy-refresh-interval: 30000
proxy-dial-timeout: 1000
proxy-write-timeout: 5000
proxy-read-timeout: 0
client-transport-security:
  cert-file:
  key-file:
  client-cert-auth: false
  trusted-ca-file:
  auto-tls: false
peer-transport-security:
  cert-file:
  key-file:
  client-cert-auth: false
  trusted-ca-file:
  auto-tls: false
  allowed-cn:
  allowed-hostname:
self-signed-cert-validity: 1
log-level: debug
logger: zap
log-outputs: [stderr]
force-new-cluster: false
auto-compaction-mode: periodic
auto-compaction-retention: "1"
cipher-suites: [
  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
]
tls-min-version: 'TLS1.2'
tls-max-version: 'TLS1.3'
`},
	"k3s": {args: "--config-file=etcd.yml", file: `
advertise-client-urls: https://127.0.0.1:2379
client-transport-security:
  cert-file: DIR/member.crt
  client-cert-auth: true
  key-file: DIR/member.key
  trusted-ca-file: DIR/ca.crt
data-dir: DIR/data
election-timeout: 5000
experimental-initial-corrupt-check: true
experimental-watch-progress-notify-interval: 5000000000
heartbeat-interval: 500
initial-advertise-peer-urls: https://127.0.0.1:2380
initial-cluster: node-1=https://127.0.0.1:2380
initial-cluster-state: new
listen-client-http-urls: https://127.0.0.1:0
listen-client-urls: https://127.0.0.1:0
listen-metrics-urls: http://127.0.0.1:0
listen-peer-urls: https://127.0.0.1:0
log-outputs:
- stderr
logger: zap
name: node-1
peer-transport-security:
  cert-file: DIR/member.crt
  client-cert-auth: true
  key-file: DIR/member.key
  trusted-ca-file: DIR/ca.crt
snapshot-count: 10000
`},
	"rke2": {args: "--config-file=etcd.yml", file: `
advertise-client-urls: https://127.0.0.1:2379
client-transport-security: {cert-file: DIR/member.crt, client-cert-auth: true, key-file: DIR/member.key, trusted-ca-file: DIR/ca.crt}
peer-transport-security: {cert-file: DIR/member.crt, client-cert-auth: true, key-file: DIR/member.key, trusted-ca-file: DIR/ca.crt}
data-dir: DIR/data
feature-gates: InitialCorruptCheck=true
watch-progress-notify-interval: 5000000000
socket-options: {reuse-port: true, reuse-address: true}
listen-client-urls: https://127.0.0.1:0
listen-peer-urls: https://127.0.0.1:0
`},
	"kubeadm": {args: `--advertise-client-urls=https://127.0.0.1:2379 --cert-file=DIR/member.crt --client-cert-auth=true
		--data-dir=DIR/data --experimental-initial-corrupt-check=true --experimental-watch-progress-notify-interval=5s
		--initial-advertise-peer-urls=https://127.0.0.1:2380 --initial-cluster=cp=https://127.0.0.1:2380
		--key-file=DIR/member.key --listen-client-urls=https://127.0.0.1:0 --listen-metrics-urls=http://127.0.0.1:0
		--listen-peer-urls=https://127.0.0.1:0 --name=cp --peer-cert-file=DIR/member.crt --peer-client-cert-auth=true
		--peer-key-file=DIR/member.key --peer-trusted-ca-file=DIR/ca.crt --snapshot-count=10000 --trusted-ca-file=DIR/ca.crt`},
	"Debian and CoreOS": {environ: []string{
		"ETCD_NAME=infra0", "ETCD_SSL_DIR=/etc/ssl/certs", "ETCD_DATA_DIR=DIR/data", "ETCD_WAL_DIR=DIR/wal", "ETCD_MAX_SNAPSHOTS=5", "ETCD_MAX_WALS=5",
		"ETCD_CERT_FILE=DIR/member.crt", "ETCD_KEY_FILE=DIR/member.key", "ETCD_CLIENT_CERT_AUTH=true", "ETCD_TRUSTED_CA_FILE=DIR/ca.crt",
		"ETCD_PEER_CERT_FILE=DIR/member.crt", "ETCD_PEER_KEY_FILE=DIR/member.key", "ETCD_PEER_CLIENT_CERT_AUTH=true", "ETCD_PEER_TRUSTED_CA_FILE=DIR/ca.crt",
		"ETCD_LISTEN_CLIENT_URLS=https://127.0.0.1:0", "ETCD_ADVERTISE_CLIENT_URLS=https://127.0.0.1:2379", "ETCD_LISTEN_PEER_URLS=https://127.0.0.1:0",
		"ETCD_INITIAL_ADVERTISE_PEER_URLS=https://127.0.0.1:2380", "ETCD_INITIAL_CLUSTER=infra0=https://127.0.0.1:2380",
		"ETCD_INITIAL_CLUSTER_STATE=new", "ETCD_INITIAL_CLUSTER_TOKEN=etcd-cluster", "ETCD_STRICT_RECONFIG_CHECK=true", "ETCD_ENABLE_V2=true",
	}},
	"Patroni": {args: `--name n1 --data-dir DIR/data --enable-v2=true --listen-client-urls http://127.0.0.1:0 --advertise-client-urls http://127.0.0.1:2379
		--listen-peer-urls http://127.0.0.1:0 --auto-compaction-retention=1 --quota-backend-bytes=8589934592 --enable-grpc-gateway
		--heartbeat-interval 250 --election-timeout 1250`},
}

// TestDeployments starts each of them.
func TestDeployments(t *testing.T) {
	authority := pki.NewAuthority(t, "etcd-ca")
	pair := authority.Issue(t, pki.Spec{CommonName: "member", Hosts: []string{"127.0.0.1", "localhost"}})
	for name, d := range deployments {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			pki.Write(t, filepath.Join(dir, "ca.crt"), authority.PEM())
			pair.Write(t, dir, "member")
			here := strings.NewReplacer("DIR", dir)
			if err := os.WriteFile(filepath.Join(dir, "etcd.yml"), []byte(here.Replace(d.file)), 0o600); err != nil {
				t.Fatal(err)
			}
			var environ []string
			for _, v := range d.environ {
				environ = append(environ, here.Replace(v))
			}
			p := start(t, dir, environ, strings.Fields(here.Replace(d.args))...)
			p.await(`ready to serve client requests`)
			p.signal(syscall.SIGTERM)
			if status, stderr := p.end(); status != 0 {
				t.Errorf("status %d\n%s", status, stderr)
			}
		})
	}
}
