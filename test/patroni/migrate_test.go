package patroni

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cairn/test/harness"
)

const debianEtcd = "/usr/bin/etcd"

// TestMigration moves Patroni's etcd into cairn as docs/guides/from-etcd.md has it: pause, finish,
// other endpoints, restart of Patroni, resume. PostgreSQL runs on as the primary.
func TestMigration(t *testing.T) {
	harness.Needs(t, debianEtcd, "etcd-server")
	if other := harness.Reference(t); other != "" {
		t.Skip("only cairn can be migrated to, not " + other)
	}
	c := newCluster(t)
	old, next := harness.StartOther(t, debianEtcd), harness.Start(t)
	c.server, c.settings = old, `etcd3: {host: "`+old.Address()+`"}`
	c.leaderKey = func() string { return c.etcdctl(c.server, "get", "/service/cairn/leader", "--print-value-only") }
	c.prepare()
	open(t, next.Dir())
	c.start()
	c.fill()
	started, system := c.started(), c.key(old, "initialize")
	run := next.Begin(t, harness.Command{Args: []string{harness.Etcdctl(t), "migrate", "--from", old.URL()}, Env: []string{"ETCDCTL_API=3", "TMPDIR=" + next.Dir()}}, nil)
	harness.Await(t, "the new cluster follows", func() bool { return strings.Contains(c.etcdctl(next, "migrate", "status"), "phase: following") })

	c.patronictl("pause", "--wait", "cairn")
	c.etcdctl(next, "migrate", "finish", "--from", old.URL())
	<-run.Exited()
	c.end()
	file := filepath.Join(c.dir, "patroni.yml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), old.Address(), next.Address(), 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	old.Stop() // whatever still uses it fails from here on
	c.server = next
	c.start()
	c.patronictl("resume", "--wait", "cairn")

	c.wait("the primary", func() bool { return c.status("/primary") == http.StatusOK })
	c.checkUnchanged(started)
	if got := c.key(next, "initialize"); got != system {
		t.Errorf("the system identifier is %s, want %s", got, system)
	}
	if _, body := c.ask("/patroni"); strings.Contains(body, `"pause": true`) {
		t.Errorf("Patroni is still paused: %s", body)
	}
	c.end()
}

// key reads one of Patroni's keys with its revisions.
func (c *cluster) key(s *harness.Server, name string) string {
	c.t.Helper()
	_, found, ok := strings.Cut(c.etcdctl(s, "get", "/service/cairn/"+name, "-w", "json"), `"kvs":`)
	if !ok {
		c.t.Fatalf("there is no key %s", name)
	}
	return found
}

func (c *cluster) etcdctl(s *harness.Server, args ...string) string {
	c.t.Helper()
	r := s.Run(c.t, harness.Command{Args: append([]string{harness.Etcdctl(c.t)}, args...), Env: []string{"ETCDCTL_API=3", "TMPDIR=" + s.Dir()}})
	if r.Exit != 0 {
		c.t.Fatalf("etcdctl %s: %+v", args, r)
	}
	return strings.TrimSpace(r.Stdout)
}

// patronictl runs a command of Patroni's.
func (c *cluster) patronictl(args ...string) {
	c.t.Helper()
	r := c.server.Run(c.t, harness.Command{
		Args: append([]string{"/usr/bin/python3", "-W", "ignore", "/usr/bin/patronictl", "-c", filepath.Join(c.dir, "patroni.yml")}, args...),
		Env:  []string{"HOME=" + c.dir, "PYTHONDONTWRITEBYTECODE=1", "LC_ALL=C.UTF-8"}, Limit: waitMax,
	})
	if r.Exit != 0 {
		c.t.Fatalf("patronictl %s: %+v", args, r)
	}
}
