package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"cairn/internal/discovery"
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
