package proxies

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"cairn/test/harness"
	"cairn/test/pki"
	"cairn/test/process"
)

// secureSide has the certificates of one side of a proxy.
type secureSide struct {
	ca             string
	server, client pki.Files
	config         *tls.Config // of a client with a certificate
}

func newSecureSide(t *testing.T, name string) secureSide {
	t.Helper()
	dir := t.TempDir()
	a := pki.NewAuthority(t, name)
	// gRPC proxies refuse a common name: it would be the user of all clients
	pair := a.Issue(t, pki.Spec{})
	s := secureSide{
		ca:     pki.Write(t, filepath.Join(dir, "ca.crt"), a.PEM()),
		server: a.Issue(t, pki.Spec{CommonName: name, Hosts: []string{"127.0.0.1"}}).Write(t, dir, "server"),
		client: pair.Write(t, dir, "client"),
	}
	certificate, err := tls.LoadX509KeyPair(s.client.Cert, s.client.Key)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(a.Cert)
	s.config = &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	return s
}

// startEtcd starts a process of the program until the test ends.
func startEtcd(t *testing.T, args ...string) *process.Process {
	t.Helper()
	log := new(harness.Buffer)
	cmd := exec.Command(harness.Etcd(t), args...)
	cmd.Env = append(os.Environ(), "ETCD_DATA_DIR="+filepath.Join(t.TempDir(), "data"))
	cmd.Stdout, cmd.Stderr = log, log
	proc, err := process.Start(cmd)
	must(t, err)
	t.Cleanup(func() {
		(&proxy{proc: proc}).stop()
		if t.Failed() {
			t.Logf("%q wrote:\n%s", args, log)
		}
	})
	return proc
}

// TestReplacedUpstreamFiles replaces the authority of a cluster, and the certificates of its member
// and of the proxy: the proxy uses them for its next connections, without a restart.
func TestReplacedUpstreamFiles(t *testing.T) {
	old := newSecureSide(t, "inner")
	free := func() string { return "127.0.0.1:" + harness.FreePort(t) }
	member, peer, address := free(), free(), free()
	args := []string{
		"--name", "m", "--data-dir", filepath.Join(t.TempDir(), "m"),
		"--listen-client-urls", "https://" + member, "--advertise-client-urls", "https://" + member,
		"--listen-peer-urls", "http://" + peer, "--initial-advertise-peer-urls", "http://" + peer, "--initial-cluster", "m=http://" + peer,
		"--cert-file", old.server.Cert, "--key-file", old.server.Key, "--trusted-ca-file", old.ca, "--client-cert-auth", "--unsafe-no-fsync",
	}
	first := startEtcd(t, args...)
	startEtcd(t, "grpc-proxy", "start", "--listen-addr", address, "--endpoints", "https://"+member,
		"--cert", old.client.Cert, "--key", old.client.Key, "--cacert", old.ca)
	v3, err := clientv3.New(clientv3.Config{Endpoints: []string{"http://" + address}, Logger: zap.NewNop()})
	must(t, err)
	t.Cleanup(func() { v3.Close() })
	put := func(key string) {
		harness.Await(t, "the proxy serves "+key, func() bool {
			bounded, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			_, err := v3.Put(bounded, key, "")
			return err == nil
		})
		if r := <-v3.Watch(t.Context(), key, clientv3.WithRev(1)); len(r.Events) == 0 {
			t.Errorf("watch %s: %+v", key, r)
		}
	}
	put("before")
	must(t, first.Signal(os.Kill))
	<-first.Exited()
	renewed := newSecureSide(t, "renewed")
	for from, to := range map[string]string{
		renewed.ca: old.ca, renewed.server.Cert: old.server.Cert, renewed.server.Key: old.server.Key,
		renewed.client.Cert: old.client.Cert, renewed.client.Key: old.client.Key,
	} {
		must(t, os.Rename(from, to))
	}
	startEtcd(t, args...)
	put("after")
}

// TestSecureProxies has each proxy between a client and a member that both require TLS with client
// certificates, of different authorities where the proxy ends TLS itself. A client without a
// certificate is refused.
func TestSecureProxies(t *testing.T) {
	inner, outer := newSecureSide(t, "inner"), newSecureSide(t, "outer")
	free := func() string { return "127.0.0.1:" + harness.FreePort(t) }
	member, peer, gateway, grpcProxy, httpProxy := free(), free(), free(), free(), free()
	startEtcd(t, "--name", "m", "--listen-client-urls", "https://"+member, "--advertise-client-urls", "https://"+member,
		"--listen-peer-urls", "http://"+peer, "--initial-advertise-peer-urls", "http://"+peer, "--initial-cluster", "m=http://"+peer,
		"--cert-file", inner.server.Cert, "--key-file", inner.server.Key, "--trusted-ca-file", inner.ca, "--client-cert-auth", "--unsafe-no-fsync")
	startEtcd(t, "gateway", "start", "--listen-addr", gateway, "--endpoints", member, "--retry-delay", "100ms")
	startEtcd(t, "grpc-proxy", "start", "--listen-addr", grpcProxy, "--endpoints", "https://"+member,
		"--cert", inner.client.Cert, "--key", inner.client.Key, "--cacert", inner.ca,
		"--cert-file", outer.server.Cert, "--key-file", outer.server.Key, "--trusted-ca-file", outer.ca)
	startEtcd(t, "--proxy", "on", "--listen-client-urls", "https://"+httpProxy, "--initial-cluster", "m=http://"+peer, "--proxy-refresh-interval", "200",
		"--cert-file", outer.server.Cert, "--key-file", outer.server.Key, "--trusted-ca-file", outer.ca, "--client-cert-auth",
		"--peer-cert-file", inner.client.Cert, "--peer-key-file", inner.client.Key, "--peer-trusted-ca-file", inner.ca)
	for _, c := range []struct {
		name, address string
		side          secureSide // at the client
		v2            bool
	}{{"gateway", gateway, inner, true}, {"grpcproxy", grpcProxy, outer, false}, {"httpproxy", httpProxy, outer, true}} {
		client := func(config *tls.Config) *clientv3.Client {
			v3, err := clientv3.New(clientv3.Config{Endpoints: []string{"https://" + c.address}, TLS: config, Logger: zap.NewNop()})
			must(t, err)
			t.Cleanup(func() { v3.Close() })
			return v3
		}
		v3 := client(c.side.config)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		t.Cleanup(cancel)
		harness.Await(t, c.name+" serves v3", func() bool {
			bounded, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			_, err := v3.Put(bounded, "/"+c.name, "1")
			return err == nil
		})
		if r := <-v3.Watch(ctx, "/"+c.name, clientv3.WithRev(1)); len(r.Events) == 0 {
			t.Errorf("%s: watch: %+v", c.name, r)
		}
		without := c.side.config.Clone()
		without.Certificates = nil
		short, cancelShort := context.WithTimeout(ctx, time.Second)
		t.Cleanup(cancelShort)
		if r, err := client(without).Get(short, "/"+c.name); err == nil {
			t.Errorf("%s serves a client without a certificate: %+v", c.name, r)
		}
		if !c.v2 {
			continue
		}
		h := &http.Client{Transport: &http.Transport{TLSClientConfig: c.side.config}}
		t.Cleanup(h.CloseIdleConnections)
		resp, err := h.Get("https://" + c.address + "/v2/keys/" + c.name)
		must(t, err)
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(text), `"value":"1"`) {
			t.Errorf("%s: v2: %s %s, %v", c.name, resp.Status, text, err)
		}
	}
}

// TestSchemeDecidesAboutTLS holds that a gRPC proxy with --cacert reaches members without TLS at
// http:// endpoints.
func TestSchemeDecidesAboutTLS(t *testing.T) {
	f := newFleet(t, 1)
	p := startProxy(t, "grpcproxy", f.Members(), "--cacert", newSecureSide(t, "other").ca)
	_, err := p.client(t).Put(t.Context(), "k", "v")
	must(t, err)
}
