package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"cairn/internal/discovery"
	"cairn/test/pki"
)

// dialMember returns a client of a member of the tests.
func dialMember(t *testing.T, host string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{"http://" + host}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestDiscoveryToken bootstraps three members by the v3 protocol of a discovery service, and holds
// the errors of a token that is unknown, damaged or used up, of a member that has registered
// before, and of a service that cannot be reached.
func TestDiscoveryToken(t *testing.T) {
	_, host := startReady(t, anyPort()...)
	client, ctx := dialMember(t, host), context.Background()
	run := func(dir, token string, i int, more ...string) *etcd {
		args := []string{
			"--name", fmt.Sprintf("n%d", i), "--discovery-token", token, "--discovery-endpoints", "127.0.0.1:1,http://" + host,
			"--listen-peer-urls", "http://127.0.0.1:0", "--initial-advertise-peer-urls", fmt.Sprintf("http://127.0.0.1:%d", i+1),
			"--listen-client-urls", "http://127.0.0.1:0", "--advertise-client-urls", "http://127.0.0.1:1",
		}
		return start(t, dir, nil, append(args, more...)...)
	}
	refused := func(token string, i int, want string, more ...string) {
		t.Helper()
		dir := t.TempDir()
		status, stderr := run(dir, token, i, more...).end()
		if status != 1 || !strings.Contains(stderr, want) {
			t.Errorf("status %d: %s; want %s", status, stderr, want)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
	refused("none", 0, "etcd: --discovery-token: discovery: size key not found: create the token (etcdctl discovery new")
	if _, err := client.Put(ctx, discovery.SizeKey("bad"), "0"); err != nil {
		t.Fatal(err)
	}
	refused("bad", 0, `etcd: --discovery-token: discovery: size key is bad: want a number of members, 1 or more; it is "0"`)
	if err := discovery.Create(ctx, client, "three", 3); err != nil {
		t.Fatal(err)
	}
	if err := discovery.Create(ctx, client, "three", 3); err == nil || !strings.Contains(err.Error(), "has been created before") {
		t.Errorf("a token was created twice: %v", err)
	}

	waiting := run(t.TempDir(), "three", 9)
	waiting.await(`discovery: waiting for members to register registered=1 size=3`)
	waiting.signal(syscall.SIGTERM)
	if status, stderr := waiting.end(); status != 1 || !strings.Contains(stderr, "stopped by a signal (terminated)") {
		t.Errorf("status %d: %s", status, stderr)
	}
	refused("three", 9, "etcd: --discovery-token: discovery: found duplicate id")

	a, b := run(t.TempDir(), "three", 1), run(t.TempDir(), "three", 2)
	for _, p := range []*etcd{a, b} {
		got := p.await(`discovery: found the members initial_cluster=(\S+)`)[1]
		for _, want := range []string{"n9=http://127.0.0.1:10", "n1=http://127.0.0.1:2", "n2=http://127.0.0.1:3"} {
			if !strings.Contains(got, want) {
				t.Errorf("found %s, want %s among them", got, want)
			}
		}
		p.await(`starting member `)
	}
	refused("three", 3, "etcd: --discovery-token: discovery: cluster is full")
	size, members, err := discovery.Registrations(ctx, client, "three")
	if err != nil || size != 3 || len(members) != 3 || members[0].Text != "n9=http://127.0.0.1:10" || members[0].Protocol != 3 {
		t.Errorf("registered: %d, %+v, %v", size, members, err)
	}

	unreachable := start(t, t.TempDir(), nil, anyPort("--discovery-token", "x", "--discovery-endpoints", "127.0.0.1:1", "--discovery-request-timeout", "100ms")...)
	unreachable.await(`discovery: discovery service cannot be reached endpoints=127.0.0.1:1`)
	unreachable.signal(syscall.SIGTERM)
	if status, _ := unreachable.end(); status != 1 {
		t.Errorf("status %d", status)
	}
}

// TestDiscoveryTokenSecured registers with a service that requires TLS, a client certificate and a
// user, by flags and by etcd's section discovery-config in a configuration file. A wrong password
// ends the start; an authority that the service's certificate is not of is logged.
func TestDiscoveryTokenSecured(t *testing.T) {
	dir := t.TempDir()
	a := pki.NewAuthority(t, "ca")
	ca := pki.Write(t, filepath.Join(dir, "ca.crt"), a.PEM())
	other := pki.Write(t, filepath.Join(dir, "other.crt"), pki.NewAuthority(t, "other").PEM())
	server := a.Issue(t, pki.Spec{CommonName: "service", Hosts: []string{"127.0.0.1"}}).Write(t, dir, "server")
	pair := a.Issue(t, pki.Spec{}).Write(t, dir, "client")
	service := start(t, t.TempDir(), nil, "--listen-client-urls", "https://127.0.0.1:0", "--advertise-client-urls", "https://127.0.0.1:1",
		"--listen-peer-urls", "http://127.0.0.1:0", "--cert-file", server.Cert, "--key-file", server.Key, "--trusted-ca-file", ca, "--client-cert-auth",
		"--bcrypt-cost", "4")
	host := service.await(`serving client requests.* address=(\S+)`)[1]

	certificate, err := tls.LoadX509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.Cert)
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{"https://" + host}, Logger: zap.NewNop(),
		TLS: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	ctx := context.Background()
	for _, token := range []string{"flags", "file", "refused"} {
		if err := discovery.Create(ctx, client, token, 1); err != nil {
			t.Fatal(err)
		}
	}
	_, err1 := client.UserAdd(ctx, "root", "secret")
	_, err2 := client.RoleAdd(ctx, "root")
	_, err3 := client.UserGrantRole(ctx, "root", "root")
	_, err4 := client.AuthEnable(ctx)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	flags := func(token, authority, password string) []string {
		return anyPort("--discovery-token", token, "--discovery-endpoints", "https://"+host, "--discovery-cacert", authority,
			"--discovery-cert", pair.Cert, "--discovery-key", pair.Key, "--discovery-user", "root", "--discovery-password", password,
			"--discovery-dial-timeout", "5s", "--discovery-request-timeout", "5s", "--discovery-keepalive-time", "2s", "--discovery-keepalive-timeout", "6s")
	}
	start(t, t.TempDir(), nil, flags("flags", ca, "secret")...).await(`discovery: found the members initial_cluster="?default=http`)

	file := filepath.Join(dir, "etcd.yml")
	text := fmt.Sprintf("listen-client-urls: http://127.0.0.1:0\nadvertise-client-urls: http://127.0.0.1:1\nlisten-peer-urls: http://127.0.0.1:0\n"+
		"discovery-config:\n  token: file\n  client:\n    endpoints: [\"https://%s\"]\n    request-timeout: 5000000000\n"+
		"    secure: {cert: %s, key: %s, cacert: %s}\n    auth: {username: root, password: secret}\n", host, pair.Cert, pair.Key, ca)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, t.TempDir(), nil, "--config-file", file).await(`discovery: found the members initial_cluster="?default=http`)

	status, stderr := start(t, t.TempDir(), nil, flags("refused", ca, "wrong")...).end()
	if status != 1 || !strings.Contains(stderr, "authentication failed, invalid user ID or password") {
		t.Errorf("wrong password: status %d: %s", status, stderr)
	}
	stranger := start(t, t.TempDir(), nil, flags("refused", other, "secret")...)
	stranger.await(`discovery: discovery service cannot be reached .*`)
	stranger.signal(syscall.SIGTERM)
	if status, _ := stranger.end(); status != 1 {
		t.Errorf("other authority: status %d", status)
	}
}
