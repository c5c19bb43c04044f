// Package proxies tests the gateway, the proxy for both APIs and the gRPC proxy as processes in
// front of clusters of processes, with the official Go client and with HTTP.
//
// Concurrency: each test has its own processes.
package proxies

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"cairn/test/fleet"
	"cairn/test/harness"
	"cairn/test/process"
)

func TestMain(m *testing.M) { harness.Main(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newFleet starts a cluster of n members.
func newFleet(t *testing.T, n int, flags ...string) *fleet.Fleet {
	t.Helper()
	f := fleet.New(fleet.Config{Program: harness.Etcd(t), Dir: t.TempDir(), Flags: flags})
	closeAfter(t, f)
	must(t, f.Bootstrap(t.Context(), n))
	return f
}

// closeAfter ends a cluster when the test ends. A failed test prints the ends of the members' logs.
func closeAfter(t *testing.T, f *fleet.Fleet) {
	t.Helper()
	t.Cleanup(func() {
		members := f.Members()
		must(t, f.Close())
		if t.Failed() {
			for _, m := range members {
				text := m.Log()
				t.Logf("end of the log of %s:\n%s", m.Name, text[max(0, len(text)-4000):])
			}
		}
	})
}

// proxy is a process in front of a cluster.
type proxy struct {
	kind    string
	address string   // for clients
	more    []string // further addresses
	dir     string
	log     *harness.Buffer
	proc    *process.Process
}

// kinds are the proxies, with the flags that start each at an address in front of members.
var kinds = map[string]func(address string, members []*fleet.Member) []string{
	"gateway": func(address string, members []*fleet.Member) []string {
		args := []string{"gateway", "start", "--listen-addr", address, "--retry-delay", "200ms"}
		for _, m := range members {
			args = append(args, "--endpoints", m.ClientURL())
		}
		return args
	},
	"httpproxy": func(address string, members []*fleet.Member) []string {
		cluster := ""
		for _, m := range members {
			cluster += "," + m.Name + "=" + m.PeerURL()
		}
		return []string{
			"--proxy", "on", "--listen-client-urls", "http://" + address, "--initial-cluster", cluster[1:],
			"--proxy-refresh-interval", "200", "--proxy-failure-wait", "1000",
		}
	},
	"grpcproxy": func(address string, members []*fleet.Member) []string {
		args := []string{"grpc-proxy", "start", "--listen-addr", address, "--advertise-client-url", address}
		for _, m := range members {
			args = append(args, "--endpoints", m.ClientURL())
		}
		return args
	},
}

// startProxy starts a proxy, and waits until requests are served through it.
func startProxy(t *testing.T, kind string, members []*fleet.Member, more ...string) *proxy {
	t.Helper()
	p := &proxy{kind: kind, address: "127.0.0.1:" + harness.FreePort(t), dir: t.TempDir(), log: new(harness.Buffer)}
	cmd := exec.Command(harness.Etcd(t), append(kinds[kind](p.address, members), more...)...)
	cmd.Env = append(os.Environ(), "ETCD_DATA_DIR="+filepath.Join(p.dir, "data"))
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, p.log, p.log
	var err error
	p.proc, err = process.Start(cmd)
	must(t, err)
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("%s wrote:\n%s", kind, p.log)
		}
	})
	c := p.client(t)
	harness.Await(t, "requests are served through the proxy", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Get(ctx, "ready")
		return err == nil
	})
	return p
}

// noProxy is for clients that connect to the members.
const noProxy = "members"

// direct returns the members in place of a proxy.
func direct(members []*fleet.Member) *proxy {
	p := &proxy{kind: noProxy, address: members[0].ClientAddress()}
	for _, m := range members[1:] {
		p.more = append(p.more, m.ClientAddress())
	}
	return p
}

func (p *proxy) stop() {
	_ = p.proc.Signal(syscall.SIGTERM) // one that has ended is fine
	<-p.proc.Exited()
}

// client returns a client of the proxy.
func (p *proxy) client(t testing.TB) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: append([]string{p.address}, p.more...), Logger: zap.NewNop()})
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}
