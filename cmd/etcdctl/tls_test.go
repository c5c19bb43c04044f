package main

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cairn/internal/certs"
	"cairn/test/harness"
)

// TestTLS connects to Debian's etcd over mutual TLS, with certificates that `etcdctl certs` issued,
// in both dialects, and checks the errors about a wrong certificate, CA, name or scheme.
func TestTLS(t *testing.T) {
	harness.Needs(t, referenceServer, "etcd-server")
	reachOverTLS(t, referenceServer, "--enable-v2")
}

// TestTLSOnOurServer is TestTLS on a server of ours.
func TestTLSOnOurServer(t *testing.T) { reachOverTLS(t, harness.Etcd(t)) }

func reachOverTLS(t *testing.T, server string, flags ...string) {
	t.Helper()
	t.Parallel()
	ours, err := exec.LookPath("etcdctl")
	if err != nil {
		t.Fatal(err)
	}
	s := &side{dir: t.TempDir(), names: map[string]string{}}
	if err := os.Symlink(ours, filepath.Join(s.dir, "etcdctl")); err != nil {
		t.Fatal(err)
	}
	client, peer := "https://"+freeAddress(t), "https://"+freeAddress(t)
	s.client = client
	made := s.run("etcdctl certs init && etcdctl certs server --initial-cluster default=" + peer + " && etcdctl certs peer --initial-cluster default=" + peer +
		" && etcdctl certs client root && etcdctl certs init --dir other && etcdctl certs client root --dir other && etcdctl certs client old")
	if made.exit != 0 {
		t.Fatalf("certs: %s", made)
	}
	expire(t, filepath.Join(s.dir, "certs"), "old-client")
	cmd := exec.Command(server, append([]string{
		"--data-dir", "data", "--log-level", "error",
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--cert-file", "certs/default-server.crt", "--key-file", "certs/default-server.key", "--trusted-ca-file", "certs/ca.crt", "--client-cert-auth",
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" + peer,
		"--peer-cert-file", "certs/default-peer.crt", "--peer-key-file", "certs/default-peer.key", "--peer-trusted-ca-file", "certs/ca.crt", "--peer-client-cert-auth",
	}, flags...)...)
	cmd.Dir = s.dir
	proc, logged := harness.Launch(t, cmd)
	const mutual = "--cacert certs/ca.crt --cert certs/root-client.crt --key certs/root-client.key "
	for deadline := time.Now().Add(time.Minute); s.run("etcdctl "+mutual+"--command-timeout=1s endpoint health").exit != 0; time.Sleep(20 * time.Millisecond) {
		select {
		case <-proc.Exited():
			t.Fatalf("%s ended: %s", server, logged.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not healthy over TLS: %s", server, logged.String())
		}
	}
	address := strings.TrimPrefix(client, "https://")
	port := address[strings.LastIndex(address, ":")+1:]
	const quick = "--command-timeout=500ms --dial-timeout=500ms "
	for _, c := range []struct {
		line string
		exit int
		want string // in standard output or standard error
	}{
		{"etcdctl " + mutual + "put /k v3", 0, "OK"},
		{"ETCDCTL_CACERT=certs/ca.crt ETCDCTL_CERT=certs/root-client.crt ETCDCTL_KEY=certs/root-client.key etcdctl get /k", 0, "v3"},
		{"etcdctl " + mutual + "--endpoints " + address + " get /k", 0, "v3"},
		{"etcdctl " + mutual + "--endpoints https://localhost:" + port + " get /k", 0, "v3"},
		{"etcdctl --insecure-skip-tls-verify --cert certs/root-client.crt --key certs/root-client.key get /k", 0, "v3"},
		{"etcdctl " + mutual + "endpoint certs", 0, "CN=default, localhost 127.0.0.1 ::1, CN=etcd CA, "},
		{"etcdctl " + mutual + "endpoint certs -w json", 0, `"status":"ok"`},
		{"etcdctl --cert certs/root-client.crt --key certs/root-client.key endpoint certs", 1, "which is not trusted"},

		{"etcdctl " + quick + "--cacert certs/ca.crt get /k", 1, "requires a client certificate: give --cert and --key"},
		{"etcdctl " + quick + "--cert certs/root-client.crt --key certs/root-client.key get /k", 1, "which is not trusted: name the file of its CA with --cacert"},
		{"etcdctl " + quick + "--cacert other/ca.crt --cert certs/root-client.crt --key certs/root-client.key get /k", 1, "which is not trusted"},
		{"etcdctl " + quick + "--cacert certs/ca.crt --cert other/root-client.crt --key other/root-client.key get /k", 1, "client certificate"},
		{"etcdctl " + quick + "--cacert certs/ca.crt --cert certs/old-client.crt --key certs/old-client.key get /k", 1, "client certificate"},
		{"etcdctl " + quick + "--endpoints http://" + address + " get /k", 1, "https://" + address},
		{"etcdctl " + quick + mutual + "--endpoints https://127.0.0.2:" + port + " get /k", 1, "127.0.0.2"},
		{"etcdctl --cacert certs/root-client.key get /k", 128, "--cacert certs/root-client.key holds no certificate in PEM format: it holds a PRIVATE KEY"},
		{"etcdctl --cert certs/ca.crt --key certs/root-client.key get /k", 128, "--cert certs/ca.crt (CERTIFICATE), --key certs/root-client.key (PRIVATE KEY)"},
		{"etcdctl --cert certs/ca.crt get /k", 128, "KeyFile and CertFile must both be present"},

		{"ETCDCTL_API=2 etcdctl --ca-file certs/ca.crt --cert-file certs/root-client.crt --key-file certs/root-client.key set /v2 two", 0, "two"},
		{"ETCDCTL_API=2 ETCDCTL_CA_FILE=certs/ca.crt ETCDCTL_CERT_FILE=certs/root-client.crt ETCDCTL_KEY_FILE=certs/root-client.key etcdctl get /v2", 0, "two"},
		{"ETCDCTL_API=2 etcdctl --ca-file certs/ca.crt get /v2", 4, "requires a client certificate: give --cert-file and --key-file"},
		{"ETCDCTL_API=2 etcdctl --cert-file certs/root-client.crt --key-file certs/root-client.key get /v2", 4, "name the file of its CA with --ca-file"},
		{"ETCDCTL_API=2 etcdctl --endpoints http://" + address + " get /v2", 4, "https://" + address},
	} {
		got := s.run(c.line)
		if said := got.stdout + got.stderr; got.exit != c.exit || !strings.Contains(said, c.want) {
			t.Errorf("%s:\n%swant exit %d and %q", c.line, got, c.exit, c.want)
		}
	}
	if t.Failed() {
		fmt.Println(logged.String())
	}
}

// expire replaces a certificate by one of the same authority that expired a day ago.
func expire(t *testing.T, dir, name string) {
	t.Helper()
	ca, err := tls.LoadX509KeyPair(filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	key, ok := ca.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatalf("the authority's key is a %T", ca.PrivateKey)
	}
	now := time.Now()
	p, err := certs.Sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		NotBefore: now.AddDate(0, 0, -2), NotAfter: now.AddDate(0, 0, -1),
	}, nil, &certs.Pair{Cert: ca.Leaf, Key: key})
	if err == nil {
		err = p.Save(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
	}
	if err != nil {
		t.Fatal(err)
	}
}
