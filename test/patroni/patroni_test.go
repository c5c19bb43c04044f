// Package patroni runs Debian's Patroni with a PostgreSQL and its leader key in our server, over
// mutual TLS, and restarts the server meanwhile.
//
// It owns a cluster of one PostgreSQL. Patroni writes the leader key with a TTL at intervals, or
// keeps its lease alive; a primary that cannot is demoted. So the tests check that the key exists,
// that Patroni has reached the server after its restart, and that PostgreSQL has kept its role.
//
// Concurrency: Patroni and PostgreSQL run in parallel with the test, which stops them.
package patroni

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"cairn/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const (
	patroni = "/usr/bin/patroni"
	// waitMax is the limit of every wait. It is generous.
	waitMax = 2 * time.Minute
)

// TestEtcd is Patroni with the v2 API.
func TestEtcd(t *testing.T) { keepsLeader(t, "etcd") }

// TestEtcd3 is Patroni with the v3 API as JSON.
func TestEtcd3(t *testing.T) { keepsLeader(t, "etcd3") }

// cluster is a running Patroni with its PostgreSQL.
type cluster struct {
	t        *testing.T
	server   *harness.Server
	files    harness.Certificates
	binaries string // PostgreSQL's
	dir      string
	settings string // where the server is, in patroni.yml
	port     string // PostgreSQL's
	rest     string // address of Patroni's own API
	as       *syscall.Credential
	patroni  *harness.Background

	leaderKey func() string // reads the leader key; "" when there is none
}

func keepsLeader(t *testing.T, settings string) {
	c := newCluster(t)
	c.server, c.files = harness.StartSecure(t)
	c.settings = fmt.Sprintf("%s: {host: %q, protocol: https, cacert: %q, cert: %q, key: %q}", settings, c.server.Address(), c.files.CA, c.files.Cert, c.files.Key)
	c.prepare()
	c.shareCertificates()
	c.start()
	c.fill()
	started := c.started()

	c.awaitCycle()
	c.server.Kill()
	c.server.Restart()
	restarted := time.Now().Unix()
	if value := c.leaderKey(); value != "pg1" {
		t.Errorf("right after the restart the leader key is %q", value)
	}
	c.wait("word with the server behind its restart", func() bool { return c.lastSeen() > restarted+1 })
	if value := c.leaderKey(); value != "pg1" {
		t.Errorf("some cycles after the restart the leader key is %q", value)
	}
	c.wait("the primary", func() bool { return c.status("/primary") == http.StatusOK })
	c.checkUnchanged(started)

	// A Patroni that is stopped properly deletes the key.
	c.end()
	if value := c.leaderKey(); value != "" {
		t.Errorf("the leader key still is %q", value)
	}
}

// newCluster returns a cluster that has no settings yet, or skips the test.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	harness.Needs(t, patroni, "patroni")
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		harness.Needs(t, "/usr/lib/postgresql/15/bin/initdb", "postgresql")
	}
	c := &cluster{t: t, binaries: filepath.Dir(found[len(found)-1])}
	c.leaderKey = c.leaderKeyOfV2
	return c
}

// start starts Patroni, and waits until PostgreSQL is the primary and has the leader key.
func (c *cluster) start() {
	c.t.Helper()
	// The log is a file: a PostgreSQL that runs on would keep a pipe open.
	c.patroni = c.server.Begin(c.t, harness.Command{
		Args: []string{"/bin/sh", "-c", `exec /usr/bin/python3 -W ignore "$0" "$1" >>"$2" 2>&1`, patroni, filepath.Join(c.dir, "patroni.yml"), c.log()},
		Env:  []string{"HOME=" + c.dir, "PYTHONDONTWRITEBYTECODE=1"},
	}, c.as)
	c.wait("a primary with the leader key", func() bool {
		return c.leaderKey() == "pg1" && c.status("/primary") == http.StatusOK
	})
}

// log is the name of the file with the output of Patroni and PostgreSQL.
func (c *cluster) log() string { return filepath.Join(c.dir, "patroni.log") }

// end stops Patroni.
func (c *cluster) end() {
	c.t.Helper()
	c.patroni.Signal(syscall.SIGTERM)
	select {
	case <-c.patroni.Exited():
	case <-time.After(waitMax):
		c.t.Fatal("Patroni does not end")
	}
}

func (c *cluster) fill() {
	c.t.Helper()
	c.sql("CREATE TABLE kept (x int); INSERT INTO kept VALUES (42)")
}

// started returns the start time and the time line of PostgreSQL.
func (c *cluster) started() string {
	c.t.Helper()
	return c.sql("SELECT pg_postmaster_start_time(), timeline_id FROM pg_control_checkpoint()")
}

// checkUnchanged: PostgreSQL has neither been restarted nor lost its role or its rows.
func (c *cluster) checkUnchanged(started string) {
	c.t.Helper()
	if got := c.started(); got != started {
		c.t.Errorf("PostgreSQL did not run on: it was %s, and is %s", started, got)
	}
	if got := c.sql("SELECT x, pg_is_in_recovery() FROM kept"); got != "42|f" {
		c.t.Errorf("the table has %s", got)
	}
}

// leaderKeyOfV2 reads the leader key by the v2 API, which has the keys of v3, too.
func (c *cluster) leaderKeyOfV2() string {
	status, body, _ := c.server.HTTP("GET", "/v2/keys/service/cairn/leader", "")
	if status == http.StatusNotFound {
		return ""
	}
	var answer struct{ Node struct{ Value string } }
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		c.t.Fatalf("%v: %s", err, body)
	}
	return answer.Node.Value
}

// lastSeen returns the time of Patroni's last contact with the server, in seconds, and 0 when
// Patroni reports none.
func (c *cluster) lastSeen() int64 {
	_, body := c.ask("/patroni")
	var answer struct {
		Seen int64 `json:"dcs_last_seen"`
	}
	if json.Unmarshal([]byte(body), &answer) != nil {
		return 0
	}
	return answer.Seen
}

// awaitCycle returns at the beginning of the pause between two of Patroni's cycles. A Patroni whose
// cycle finds no server at all may stop PostgreSQL at once, without another attempt, with etcd's
// servers as with ours.
func (c *cluster) awaitCycle() {
	c.t.Helper()
	before := c.lastSeen()
	c.wait("next cycle", func() bool { return c.lastSeen() != before })
}

// prepare creates the directory and the settings. PostgreSQL does not run as root: a test run by
// root uses the user postgres.
func (c *cluster) prepare() {
	dir, err := os.MkdirTemp("", "cairn-patroni-")
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		c.endPostgres()
		if text, err := os.ReadFile(c.log()); c.t.Failed() && err == nil {
			c.t.Logf("end of the log of Patroni:\n%s", text[max(0, len(text)-8000):])
		}
		if err := os.RemoveAll(dir); err != nil {
			c.t.Error(err)
		}
	})
	c.dir, c.port, c.rest = dir, harness.FreePort(c.t), "127.0.0.1:"+harness.FreePort(c.t)
	text := fmt.Sprintf(`scope: cairn
name: pg1
restapi: {listen: %[1]q, connect_address: %[1]q}
%[2]s
bootstrap:
  dcs: {ttl: 60, loop_wait: 2, retry_timeout: 20}
  initdb: [{encoding: UTF8}, {locale: C}]
  pg_hba: ["host all all 127.0.0.1/32 md5", "local all all trust"]
postgresql:
  listen: "127.0.0.1:%[3]s"
  connect_address: "127.0.0.1:%[3]s"
  data_dir: %[4]q
  bin_dir: %[5]q
  pgpass: %[6]q
  parameters: {unix_socket_directories: %[7]q, shared_buffers: 16MB, fsync: "off"}
  authentication:
    superuser: {username: postgres, password: secret}
    replication: {username: replicator, password: secret}
`, c.rest, c.settings, c.port, filepath.Join(dir, "data"), c.binaries, filepath.Join(dir, "pgpass"), dir)
	file := filepath.Join(dir, "patroni.yml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	if os.Getuid() != 0 {
		return
	}
	owner, err := user.Lookup("postgres")
	if err != nil {
		c.t.Fatalf("%v: PostgreSQL does not run as root, and its own user is not there", err)
	}
	uid, uerr := strconv.Atoi(owner.Uid)
	gid, gerr := strconv.Atoi(owner.Gid)
	if uerr != nil || gerr != nil {
		c.t.Fatalf("user postgres: %s, %s", owner.Uid, owner.Gid)
	}
	for _, path := range []string{dir, file} {
		if err := os.Chown(path, uid, gid); err != nil {
			c.t.Fatal(err)
		}
	}
	open(c.t, c.server.Dir()) // clients run there
	c.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// shareCertificates lets Patroni's user read the client's certificate.
func (c *cluster) shareCertificates() {
	c.t.Helper()
	if c.as == nil {
		return
	}
	if err := os.Chown(c.files.Key, int(c.as.Uid), int(c.as.Gid)); err != nil {
		c.t.Fatal(err)
	}
	for _, path := range []string{c.files.CA, c.files.Cert} {
		if err := os.Chmod(path, 0o644); err != nil {
			c.t.Fatal(err)
		}
	}
	open(c.t, filepath.Dir(c.files.CA))
}

// open lets every user enter a directory of a test.
func open(t *testing.T, dir string) {
	t.Helper()
	for ; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// endPostgres stops a PostgreSQL that a killed Patroni has left running.
func (c *cluster) endPostgres() {
	text, err := os.ReadFile(filepath.Join(c.dir, "data", "postmaster.pid"))
	if err != nil {
		return // it has ended
	}
	line, _, _ := strings.Cut(string(text), "\n")
	if pid, err := strconv.Atoi(line); err == nil && pid > 1 {
		_ = syscall.Kill(pid, syscall.SIGQUIT) // immediate shutdown, including child processes
	}
}

// wait waits until a condition holds.
func (c *cluster) wait(what string, holds func() bool) {
	c.t.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(waitMax); time.Now().Before(end); <-again.C {
		if holds() {
			return
		}
		select {
		case <-c.patroni.Exited():
			c.t.Fatalf("Patroni ended before there was %s", what)
		default:
		}
	}
	c.t.Fatalf("no %s within %v", what, waitMax)
}

// status returns the HTTP status of a response of Patroni's own API, 0 without a response.
func (c *cluster) status(path string) int {
	status, _ := c.ask(path)
	return status
}

func (c *cluster) ask(path string) (status int, body string) {
	ctx, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.rest+path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "" // not listening yet
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, ""
	}
	return resp.StatusCode, string(text)
}

// sql runs statements and returns what psql prints.
func (c *cluster) sql(text string) string {
	c.t.Helper()
	got := c.server.Run(c.t, harness.Command{
		Args: []string{filepath.Join(c.binaries, "psql"), "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", c.port, "-U", "postgres", "-d", "postgres", "-c", text},
		Env:  []string{"PGPASSWORD=secret"},
	})
	if got.Exit != 0 {
		c.t.Fatalf("psql: %+v", got)
	}
	return strings.TrimSpace(got.Stdout)
}
