package config

import (
	"slices"
	"strings"
	"testing"
)

// deployments are the flags, variables and files with which etcd is started in the field, recreated
// from the documentation of the projects. Each must start a member; warned are the settings that
// are accepted without effect.
var deployments = map[string]struct {
	args    string
	environ []string
	file    string
	warned  []string
}{
	"kubeadm": {args: `--advertise-client-urls=https://10.0.0.1:2379 --cert-file=/etc/kubernetes/pki/etcd/server.crt --client-cert-auth=true
		--data-dir=/var/lib/etcd --experimental-initial-corrupt-check=true --experimental-watch-progress-notify-interval=5s
		--initial-advertise-peer-urls=https://10.0.0.1:2380 --initial-cluster=cp=https://10.0.0.1:2380
		--key-file=/etc/kubernetes/pki/etcd/server.key --listen-client-urls=https://127.0.0.1:2379,https://10.0.0.1:2379
		--listen-metrics-urls=http://127.0.0.1:2381 --listen-peer-urls=https://10.0.0.1:2380 --name=cp
		--peer-cert-file=/etc/kubernetes/pki/etcd/peer.crt --peer-client-cert-auth=true
		--peer-key-file=/etc/kubernetes/pki/etcd/peer.key --peer-trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt
		--snapshot-count=10000 --trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt`},
	"kubeadm with feature gates": {args: `--advertise-client-urls=https://10.0.0.1:2379 --cert-file=/s.crt --key-file=/s.key --client-cert-auth=true
		--feature-gates=InitialCorruptCheck=true --watch-progress-notify-interval=5s --listen-client-urls=https://127.0.0.1:2379
		--trusted-ca-file=/ca.crt --snapshot-count=10000`},
	"k3s": {args: "--config-file=/f", file: `
advertise-client-urls: https://10.0.0.1:2379
client-transport-security:
  cert-file: /var/lib/rancher/k3s/server/tls/etcd/server-client.crt
  client-cert-auth: true
  key-file: /var/lib/rancher/k3s/server/tls/etcd/server-client.key
  trusted-ca-file: /var/lib/rancher/k3s/server/tls/etcd/server-ca.crt
data-dir: /var/lib/rancher/k3s/server/db/etcd
election-timeout: 5000
experimental-initial-corrupt-check: true
experimental-watch-progress-notify-interval: 5000000000
heartbeat-interval: 500
initial-advertise-peer-urls: https://10.0.0.1:2380
initial-cluster: node-1=https://10.0.0.1:2380
initial-cluster-state: new
listen-client-http-urls: https://127.0.0.1:2382
listen-client-urls: https://127.0.0.1:2379,https://10.0.0.1:2379
listen-metrics-urls: http://127.0.0.1:2381
listen-peer-urls: https://127.0.0.1:2380,https://10.0.0.1:2380
log-outputs:
- stderr
logger: zap
name: node-1
peer-transport-security:
  cert-file: /var/lib/rancher/k3s/server/tls/etcd/peer-server-client.crt
  client-cert-auth: true
  key-file: /var/lib/rancher/k3s/server/tls/etcd/peer-server-client.key
  trusted-ca-file: /var/lib/rancher/k3s/server/tls/etcd/peer-ca.crt
snapshot-count: 10000
`},
	"rke2 with feature gates": {args: "--config-file=/f", file: `
advertise-client-urls: https://10.0.0.1:2379
client-transport-security: {cert-file: /s.crt, client-cert-auth: true, key-file: /s.key, trusted-ca-file: /ca.crt}
data-dir: /var/lib/rancher/rke2/server/db/etcd
feature-gates: InitialCorruptCheck=true
watch-progress-notify-interval: 5000000000
socket-options: {reuse-port: true, reuse-address: true}
listen-client-urls: https://127.0.0.1:2379
`, warned: []string{"/f: socket-options.reuse-address"}},
	"Debian": {environ: []string{
		"ETCD_NAME=host", "ETCD_DATA_DIR=/var/lib/etcd/default", "ETCD_LISTEN_PEER_URLS=http://10.0.0.1:2380",
		"ETCD_LISTEN_CLIENT_URLS=http://localhost:2379,http://10.0.0.1:2379", "ETCD_INITIAL_ADVERTISE_PEER_URLS=http://10.0.0.1:2380",
		"ETCD_ADVERTISE_CLIENT_URLS=http://10.0.0.1:2379", "ETCD_INITIAL_CLUSTER=host=http://10.0.0.1:2380", "ETCD_INITIAL_CLUSTER_STATE=new",
		"ETCD_INITIAL_CLUSTER_TOKEN=etcd-cluster", "ETCD_ENABLE_V2=true", "ETCD_WAL_DIR=/wal", "ETCD_MAX_SNAPSHOTS=5", "ETCD_MAX_WALS=5",
	}, warned: []string{"ETCD_MAX_SNAPSHOTS", "ETCD_MAX_WALS"}},
	"CoreOS": {environ: []string{
		"ETCD_NAME=infra0", "ETCD_SSL_DIR=/etc/ssl/certs", "ETCD_DATA_DIR=/var/lib/etcd", "ETCD_CERT_FILE=/etc/ssl/certs/s.pem",
		"ETCD_KEY_FILE=/etc/ssl/certs/s-key.pem", "ETCD_CLIENT_CERT_AUTH=true", "ETCD_TRUSTED_CA_FILE=/etc/ssl/certs/ca.pem",
		"ETCD_PEER_CERT_FILE=/p.pem", "ETCD_PEER_KEY_FILE=/p-key.pem", "ETCD_PEER_CLIENT_CERT_AUTH=true", "ETCD_PEER_TRUSTED_CA_FILE=/ca.pem",
		"ETCD_LISTEN_CLIENT_URLS=https://10.0.0.1:2379", "ETCD_ADVERTISE_CLIENT_URLS=https://10.0.0.1:2379",
		"ETCD_LISTEN_PEER_URLS=https://10.0.0.1:2380", "ETCD_INITIAL_ADVERTISE_PEER_URLS=https://10.0.0.1:2380",
		"ETCD_INITIAL_CLUSTER=infra0=https://10.0.0.1:2380", "ETCD_STRICT_RECONFIG_CHECK=true",
	}, warned: []string{"ETCD_SSL_DIR"}},
	"Patroni": {args: `--name n1 --data-dir /d --enable-v2=true --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379
		--auto-compaction-retention=1 --quota-backend-bytes=8589934592 --enable-grpc-gateway --heartbeat-interval 250 --election-timeout 1250`},
	"everything that has no meaning here": {args: `--pre-vote=false --v2-deprecation=write-only --max-wals=1 --logger=x --log-package-levels=a=DEBUG
		--backend-batch-limit=3`, warned: []string{
		"--backend-batch-limit", "--log-package-levels", "--logger", "--max-wals", "--pre-vote", "--v2-deprecation",
	}},
}

func TestDeployments(t *testing.T) {
	for name, d := range deployments {
		c, err := load(t, strings.Fields(d.args), d.environ, map[string]string{"/f": d.file})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var warned []string
		for _, w := range c.Warnings {
			warned = append(warned, w.Setting)
		}
		if slices.Sort(warned); !slices.Equal(warned, d.warned) {
			t.Errorf("%s: warned of %q, want %q", name, warned, d.warned)
		}
	}
	if c, err := load(t, []string{"--config-file=/f"}, nil, map[string]string{"/f": deployments["k3s"].file}); err != nil || !c.InitialCorruptCheck || c.WatchProgressInterval.Seconds() != 5 || !c.PeerTLS.RequireClientCert {
		t.Errorf("k3s: %+v, %v", c, err)
	}
}
