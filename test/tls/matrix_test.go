// Package tls_test runs clients and members over TLS against the built `etcd`: every way to secure
// a port, every dialect, every kind of certificate.
package tls_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"cairn/test/harness"
	"cairn/test/pki"
)

var quiet = zap.NewNop()

// refusedAfter is how long a gRPC client, which retries, is watched until it counts as refused.
const refusedAfter = time.Second

// TestClientMatrix is {plain, TLS, mutual, auto} × {gRPC, v2, JSON, metrics} × certificates.
func TestClientMatrix(t *testing.T) {
	c := makeCertificates(t)
	anyServer := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // --auto-tls has no authority
	for name, port := range map[string]struct {
		scheme  string
		flags   []string
		config  *tls.Config // of clients without a certificate
		refused []string    // names of refused certificates
	}{
		"plain":  {"http", nil, nil, nil},
		"TLS":    {"https", c.flags(""), c.client(""), nil},
		"mutual": {"https", append(c.mutual(""), "--client-cert-allowed-hostname", "localhost"), nil, []string{"expired", "not yet valid", "wrong CA", "revoked", "wrong SAN"}},
		"auto":   {"https", []string{"--auto-tls"}, anyServer, nil},
	} {
		m := newMember(t, "m")
		m.start(t, t.TempDir(), port.scheme, "http", []*member{m}, port.flags...)
		m.await(t, ready)
		for api, ask := range apis {
			if name != "mutual" {
				ctx, cancel := within(20 * time.Second)
				if err := ask(ctx, port.scheme, m.client, port.config); err != nil {
					t.Errorf("%s, %s: %v", name, api, err)
				}
				cancel()
			}
			other := map[string]string{"http": "https", "https": "http"}[port.scheme]
			ctx, cancel := within(refusedAfter)
			if err := ask(ctx, other, m.client, anyServer); err == nil {
				t.Errorf("%s, %s: a client of %s was served", name, api, other)
			} else if api != "gRPC" && (deadline(err) || !strings.Contains(err.Error(), "this port speaks TLS") && !strings.Contains(err.Error(), "speaks TLS") && !strings.Contains(err.Error(), "HTTP response to HTTPS")) {
				t.Errorf("%s, %s over %s: %v", name, api, other, err)
			}
			cancel()
			if name != "mutual" {
				continue
			}
			for kind := range c.shown {
				want := true
				limit := 20 * time.Second
				for _, r := range port.refused {
					if r == kind {
						want, limit = false, refusedAfter
					}
				}
				ctx, cancel := within(limit)
				if err := ask(ctx, "https", m.client, c.client(kind)); (err == nil) != want {
					t.Errorf("mutual, %s, %s: %v, want ok %v", api, kind, err, want)
				}
				cancel()
			}
			ctx, cancel = within(refusedAfter)
			if err := ask(ctx, "https", m.client, c.client("")); err == nil {
				t.Errorf("mutual, %s: a client without a certificate was served", api)
			}
			cancel()
		}
		if name == "mutual" && strings.Count(m.log.String(), "rejected connection") != 1 {
			t.Errorf("mutual: rejected connections are logged once for an address and minute:\n%s", m.log.String())
		}
	}
}

// TestPeerMatrix connects one of two members with each kind of certificate to the other's peer
// port, and bootstraps clusters of two over each kind of TLS.
func TestPeerMatrix(t *testing.T) {
	c := makeCertificates(t)
	for name, peer := range map[string]struct {
		scheme string
		flags  []string
	}{
		"plain": {"http", nil}, "TLS": {"https", append(c.flags("peer-"), "--peer-trusted-ca-file", c.caFile)},
		"mutual": {"https", append(c.mutual("peer-"), "--peer-cert-allowed-cn", "member")}, "auto": {"https", []string{"--peer-auto-tls"}},
	} {
		dir := t.TempDir()
		cluster := []*member{newMember(t, "a"), newMember(t, "b")}
		for _, m := range cluster {
			m.start(t, dir, "http", peer.scheme, cluster, peer.flags...)
		}
		for _, m := range cluster {
			m.await(t, ready)
		}
		if name != "mutual" {
			continue
		}
		for kind := range c.shown {
			ctx, cancel := within(20 * time.Second)
			err := overHTTP(http.MethodGet, "/version", "")(ctx, "https", cluster[0].peer, c.client(kind))
			cancel()
			if want := kind == "right"; (err == nil) != want || deadline(err) {
				t.Errorf("peer port, %s: %v, want ok %v", kind, err, want)
			}
		}
	}
	// A member whose certificate the others do not accept cannot join, and its log says why.
	stranger := c.shown["wrong CN"].Write(t, c.dir, "stranger")
	dir := t.TempDir()
	cluster := []*member{newMember(t, "a"), newMember(t, "b")}
	cluster[0].start(t, dir, "http", "https", cluster, append(c.mutual("peer-"), "--peer-cert-allowed-cn", "member")...)
	cluster[1].start(t, dir, "http", "https", cluster, "--peer-cert-file", stranger.Cert, "--peer-key-file", stranger.Key, "--peer-trusted-ca-file", c.caFile)
	cluster[0].await(t, `common name is \"stranger\"`)
	if strings.Contains(cluster[0].log.String(), ready) {
		t.Error("a member with a wrong common name was accepted")
	}
}

// TestCommonName uses the common name of a client certificate as the user where etcd does, and not
// elsewhere.
func TestCommonName(t *testing.T) {
	c := makeCertificates(t)
	root := c.ca.Issue(t, pki.Spec{CommonName: "root"})
	c.shown["root"] = root
	m := newMember(t, "m")
	m.start(t, t.TempDir(), "https", "http", []*member{m}, c.mutual("")...)
	m.await(t, ready)
	as := func(kind string) *clientv3.Client {
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{"https://" + m.client}, TLS: c.client(kind), Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		return client
	}
	ctx, cancel := within(60 * time.Second)
	defer cancel()
	admin := as("root")
	_, err := admin.UserAdd(ctx, "root", "pw")
	if err == nil {
		_, err = admin.UserGrantRole(ctx, "root", "root")
	}
	if err == nil {
		_, err = admin.AuthEnable(ctx)
	}
	if err == nil {
		_, err = admin.Put(ctx, "/a", "1")
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := as("wrong CN").Put(ctx, "/a", "2"); err == nil {
		t.Error("a common name that is no user's may write")
	}
	users := overHTTP(http.MethodGet, "/v2/auth/users", "")
	if err := users(ctx, "https", m.client, c.client("root")); err != nil {
		t.Errorf("v2 with root's certificate: %v", err)
	}
	if err := users(ctx, "https", m.client, c.client("wrong CN")); err == nil {
		t.Error("v2 with a stranger's certificate lists users")
	}
	put := overHTTP(http.MethodPost, "/v3/kv/put", `{"key":"L2E=","value":"Mw=="}`)
	if err := put(ctx, "https", m.client, c.client("root")); err == nil || !strings.Contains(err.Error(), "user name is empty") {
		t.Errorf("JSON with root's certificate: %v", err)
	}
}

// TestRotation replaces the authority of a cluster of three, old → both → new, under load: no
// request fails, and there is no election.
func TestRotation(t *testing.T) {
	dir, data := t.TempDir(), t.TempDir()
	oldCA, newCA := pki.NewAuthority(t, "old"), pki.NewAuthority(t, "new")
	hosts := pki.Spec{CommonName: "member", Hosts: []string{"127.0.0.1"}}
	caFile := pki.Write(t, filepath.Join(dir, "ca.pem"), oldCA.PEM())
	files := oldCA.Issue(t, hosts).Write(t, dir, "server")
	cluster := []*member{newMember(t, "a"), newMember(t, "b"), newMember(t, "c")}
	var flags, endpoints []string
	for _, prefix := range []string{"", "peer-"} {
		flags = append(flags, "--"+prefix+"cert-file", files.Cert, "--"+prefix+"key-file", files.Key, "--"+prefix+"trusted-ca-file", caFile, "--"+prefix+"client-cert-auth")
	}
	for _, m := range cluster {
		m.start(t, data, "https", "https", cluster, flags...)
		endpoints = append(endpoints, "https://"+m.client)
	}
	for _, m := range cluster {
		m.await(t, ready)
	}
	config := func(shown *pki.Authority, trusted ...*pki.Authority) *tls.Config {
		c := &certificates{ca: trusted[0], shown: map[string]pki.Pair{"x": shown.Issue(t, pki.Spec{CommonName: "client"})}}
		of := c.client("x")
		for _, a := range trusted {
			of.RootCAs.AddCert(a.Cert)
		}
		return of
	}
	dial := func(c *tls.Config) *clientv3.Client {
		client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, TLS: c, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		return client
	}
	term := func(c *clientv3.Client) uint64 {
		ctx, cancel := within(20 * time.Second)
		defer cancel()
		s, err := c.Status(ctx, endpoints[0])
		if err != nil {
			t.Fatal(err)
		}
		return s.RaftTerm
	}
	steady := dial(config(oldCA, oldCA))
	defer steady.Close()
	before := term(steady)
	stop := make(chan struct{})
	var load sync.WaitGroup
	var done, fresh atomic.Int64
	var current atomic.Pointer[tls.Config]
	current.Store(config(oldCA, oldCA))
	load.Go(func() { // one connection through all of it
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			ctx, cancel := within(20 * time.Second)
			if _, err := steady.Put(ctx, fmt.Sprint("/k", i%100), "v"); err != nil {
				t.Errorf("put: %v", err)
			}
			cancel()
			done.Add(1)
		}
	})
	load.Go(func() { // new connections all the time
		for {
			select {
			case <-stop:
				return
			default:
			}
			client := dial(current.Load().Clone())
			ctx, cancel := within(20 * time.Second)
			if _, err := client.Get(ctx, "/k1"); err != nil {
				t.Errorf("get over a new connection: %v", err)
			}
			cancel()
			client.Close()
			fresh.Add(1)
		}
	})
	during := func() { // waits until connections of both kinds were made with the present files
		d, f := done.Load(), fresh.Load()
		for deadline := time.Now().Add(30 * time.Second); (done.Load() < d+20 || fresh.Load() < f+3) && time.Now().Before(deadline); {
			time.Sleep(10 * time.Millisecond)
		}
	}
	during()
	pki.Write(t, caFile, append(oldCA.PEM(), newCA.PEM()...))
	during()
	// clients trust both authorities before members change
	current.Store(config(newCA, oldCA, newCA))
	during()
	newCA.Issue(t, hosts).Write(t, dir, "server")
	during()
	pki.Write(t, caFile, newCA.PEM())
	during()
	close(stop)
	load.Wait()
	after := dial(config(newCA, newCA))
	defer after.Close()
	if now := term(after); now != before {
		t.Errorf("term %d before, %d after: there was an election", before, now)
	}
	ctx, cancel := within(refusedAfter)
	defer cancel()
	if err := apis["v2"](ctx, "https", cluster[0].client, config(oldCA, newCA)); err == nil {
		t.Error("a certificate of the old authority is accepted still")
	}
	t.Logf("%d puts, %d connections", done.Load(), fresh.Load())
}

// TestOtherClients runs curl and Debian's etcdctl, in both dialects, over mutual TLS.
func TestOtherClients(t *testing.T) {
	c := makeCertificates(t)
	m := newMember(t, "m")
	m.start(t, t.TempDir(), "https", "http", []*member{m}, append(c.mutual(""), "--listen-metrics-urls", "https://"+m.metrics)...)
	m.await(t, ready)
	f := c.shown["right"].Write(t, c.dir, "client")
	url := "https://" + m.client
	for _, line := range []struct{ env, line, want string }{
		{"", "curl -sS --http1.1 --cacert CA --cert CRT --key KEY URL/v2/keys/a -XPUT -d value=1", `"action":"set"`},
		{"", "curl -sS --http2 --cacert CA --cert CRT --key KEY URL/v2/keys/a", `"value":"1"`},
		{"", `curl -sS --http2 --cacert CA --cert CRT --key KEY URL/v3/kv/range -d {"key":"L2E="}`, `"count":"1"`},
		{"", "curl -sS --cacert CA --cert CRT --key KEY https://" + m.metrics + "/metrics", "cairn_certificate_expiry_timestamp_seconds{"},
		{"ETCDCTL_API=3", "/usr/bin/etcdctl --endpoints URL --cacert CA --cert CRT --key KEY get /a", "/a\n1\n"},
		{"ETCDCTL_API=2", "/usr/bin/etcdctl --endpoints URL --ca-file CA --cert-file CRT --key-file KEY get /a", "1\n"},
	} {
		words := strings.Fields(strings.NewReplacer("CA", c.caFile, "CRT", f.Cert, "KEY", f.Key, "URL", url).Replace(line.line))
		if words[0] == "/usr/bin/etcdctl" {
			harness.Needs(t, words[0], "etcd-client")
		}
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Env = append(os.Environ(), line.env)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), line.want) {
			t.Errorf("%s %s: %v\n%s", line.env, line.line, err, out)
		}
	}
}

// TestPython runs python3-etcd (v2) and python3-etcd3 over mutual TLS.
func TestPython(t *testing.T) {
	harness.Needs(t, "/usr/bin/python3", "python3-etcd")
	c := makeCertificates(t)
	m := newMember(t, "m")
	m.start(t, t.TempDir(), "https", "http", []*member{m}, c.mutual("")...)
	m.await(t, ready)
	f := c.shown["right"].Write(t, c.dir, "client")
	port := strings.TrimPrefix(m.client, "127.0.0.1:")
	for module, script := range map[string]string{
		// urllib3 needs idna for names in certificates; Debian's package only recommends it
		"etcd, idna": "import etcd\nc = etcd.Client(host='localhost', port=PORT, protocol='https', ca_cert='CA', cert=('CRT', 'KEY'))\n" +
			"c.write('/a', '1')\nprint(c.read('/a').value)",
		"etcd3": "import etcd3\nc = etcd3.client(host='localhost', port=PORT, ca_cert='CA', cert_cert='CRT', cert_key='KEY')\n" +
			"c.put('/b', '1')\nprint(c.get('/b')[0].decode())",
	} {
		if exec.Command("/usr/bin/python3", "-c", "import "+module).Run() != nil {
			t.Logf("python3 has no module %s here", module)
			continue
		}
		script = strings.NewReplacer("PORT", port, "CA", c.caFile, "CRT", f.Cert, "KEY", f.Key).Replace(script)
		if out, err := exec.Command("/usr/bin/python3", "-c", script).CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "1" {
			t.Errorf("%s: %v\n%s", module, err, out)
		}
	}
}

// TestUnixAndHTTPOnly uses sockets with and without TLS, and --listen-client-http-urls.
func TestUnixAndHTTPOnly(t *testing.T) {
	c := makeCertificates(t)
	dir := t.TempDir()
	m := newMember(t, "m")
	m.start(t, dir, "https", "http", []*member{m}, append(c.flags(""), "--listen-client-http-urls", "http://"+m.metrics, "--wal-dir", filepath.Join(dir, "wal"))...)
	m.await(t, ready)
	ctx, cancel := within(20 * time.Second)
	defer cancel()
	if err := apis["gRPC"](ctx, "https", m.client, c.client("")); err != nil {
		t.Errorf("gRPC: %v", err)
	}
	if err := apis["v2"](ctx, "http", m.metrics, nil); err != nil {
		t.Errorf("v2 on the port for HTTP: %v", err)
	}
	if err := apis["v2"](ctx, "https", m.client, c.client("")); err == nil {
		t.Error("HTTP is served on the port for gRPC")
	}
	short, cancelShort := within(refusedAfter)
	defer cancelShort()
	if err := apis["gRPC"](short, "http", m.metrics, nil); err == nil {
		t.Error("gRPC is served on the port for HTTP")
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "wal", "log")); err != nil || len(entries) == 0 {
		t.Errorf("--wal-dir: %v, %v", entries, err)
	}
}
