package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"cairn/test/dnstest"
	"cairn/test/process"
)

// asEtcd makes the test's program run etcd, so that tests can start it as a process.
const asEtcd = "CAIRN_TEST_AS_ETCD"

// dnsServer is the variable with the DNS server, HOST:PORT, that the test's program uses.
const dnsServer = "CAIRN_TEST_DNS"

func TestMain(m *testing.M) {
	if os.Getenv(asEtcd) != "" {
		if addr := os.Getenv(dnsServer); addr != "" {
			net.DefaultResolver = dnstest.Resolver(addr)
		}
		if file := os.Getenv(stuckFile); file != "" {
			disk = stuckDisk(file)
		}
		main()
	}
	os.Exit(m.Run())
}

// etcd is a running etcd.
type etcd struct {
	t      *testing.T
	proc   *process.Process
	stdout bytes.Buffer // to be read after the end
	lines  []string     // of the standard error
	read   chan string
}

func start(t *testing.T, dir string, environ []string, args ...string) *etcd {
	t.Helper()
	p := &etcd{t: t, read: make(chan string, 1000)}
	cmd := exec.Command(os.Args[0], args...)
	cmd.Dir = dir
	cmd.Env = append([]string{asEtcd + "=1", "PATH=" + os.Getenv("PATH")}, environ...)
	cmd.Stdout = &p.stdout
	stderr, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = w
	p.proc, err = process.Start(cmd)
	w.Close() // the process has it
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.read)
		defer stderr.Close()
		for s := bufio.NewScanner(stderr); s.Scan(); {
			p.read <- s.Text()
		}
	}()
	t.Cleanup(func() {
		_ = p.proc.Signal(syscall.SIGKILL)
		<-p.proc.Exited()
	})
	return p
}

// await reads the standard error up to a line that matches, and returns the match.
func (p *etcd) await(pattern string) []string {
	p.t.Helper()
	re, deadline := regexp.MustCompile(pattern), time.After(time.Minute)
	for {
		select {
		case line, ok := <-p.read:
			if !ok {
				p.t.Fatalf("ended without a line like %s:\n%s", pattern, strings.Join(p.lines, "\n"))
			}
			p.lines = append(p.lines, line)
			if match := re.FindStringSubmatch(line); match != nil {
				return match
			}
		case <-deadline:
			p.t.Fatalf("no line like %s in time:\n%s", pattern, strings.Join(p.lines, "\n"))
		}
	}
}

// end waits for the process and returns its exit status and all of its standard error.
func (p *etcd) end() (status int, stderr string) {
	p.t.Helper()
	timer := time.AfterFunc(time.Minute, func() { _ = p.proc.Signal(syscall.SIGKILL) })
	defer timer.Stop()
	for line := range p.read {
		p.lines = append(p.lines, line)
	}
	<-p.proc.Exited()
	return p.proc.State().ExitCode(), strings.Join(p.lines, "\n")
}

func (p *etcd) signal(s os.Signal) {
	p.t.Helper()
	if err := p.proc.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// anyPort are flags for a member on free ports.
func anyPort(more ...string) []string {
	return append([]string{
		"--listen-client-urls", "http://127.0.0.1:0", "--advertise-client-urls", "http://127.0.0.1:1",
		"--listen-peer-urls", "http://127.0.0.1:0",
	}, more...)
}

// TestFailures checks the recorded case start-failures, and similar ones: the status, one line on
// the standard error, and nothing on disk.
func TestFailures(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	free, address := anyPort(), taken.Addr().String()
	for _, c := range []struct {
		args   []string
		status int
		stderr string
	}{
		{[]string{"--bogus"}, 2, "etcd: unknown flag --bogus; see etcd --help"},
		{[]string{"extra", "arguments"}, 1, `etcd: unexpected argument "extra": etcd takes flags only; see etcd --help`},
		{[]string{"--listen-client-urls", "nonsense", "--data-dir", "a"}, 2, `etcd: --listen-client-urls: "nonsense" is not a URL: want http://HOST:PORT, https://HOST:PORT, unix://PATH or unixs://PATH`},
		{[]string{"--heartbeat-interval", "x"}, 2, `etcd: --heartbeat-interval: "x" is not a number of milliseconds: want a whole number without a unit, for example 100`},
		{[]string{"--election-timeout", "50", "--heartbeat-interval", "100", "--data-dir", "a"}, 1, "etcd: --election-timeout: 50 ms is less than five times --heartbeat-interval (100 ms): want 500 ms or more"},
		{[]string{"--initial-cluster-state", "old", "--data-dir", "a"}, 2, `etcd: --initial-cluster-state: "old" is not known: want "new" or "existing"`},
		{[]string{"--listen-client-urls", "http://127.0.0.1:1", "--data-dir", "a"}, 1, "etcd: --advertise-client-urls: is required with --listen-client-urls: give the URLs at which clients reach this member"},
		{append(free, "--initial-cluster", "other=http://localhost:2380"), 1, `etcd: --initial-cluster: member "default", which --name makes this one, is not in "other=http://localhost:2380": add default=http://localhost:2380`},
		{append(free, "--initial-cluster-state", "existing"), 1, `etcd: --initial-cluster: names no other member than "default": to join a cluster, name its members as well, as 'etcdctl member add' prints them`},
		{append(free, "--listen-client-urls", "http://"+address), 1, "etcd: --listen-client-urls: listen on " + address + ": address already in use; stop what listens there, or give another port"},
		{append(free, "--listen-peer-urls", "http://"+address), 1, "etcd: --listen-peer-urls: listen on " + address + ": address already in use; stop what listens there, or give another port"},
		{append(free, "--listen-metrics-urls", "http://192.0.2.1:1"), 1, "etcd: --listen-metrics-urls: listen on 192.0.2.1:1: cannot assign requested address; give an address of this machine"},
		{append(free, "--data-dir", "/dev/null"), 1, "etcd: --data-dir: data directory /dev/null: is not a directory: give another --data-dir"},
		{append(free, "--log-outputs", "/dev/null/log"), 1, "etcd: --log-outputs: open log file: open /dev/null/log: not a directory"},
		{append(free, "--data-dir", "/dev/null", "--max-wals", "1"), 1, "etcd: warning: --max-wals: setting has no effect (cairn truncates its log itself)\netcd: --data-dir: data directory /dev/null: is not a directory: give another --data-dir"},
	} {
		dir := t.TempDir()
		p := start(t, dir, nil, c.args...)
		status, stderr := p.end()
		if status != c.status || stderr != c.stderr || p.stdout.Len() > 0 {
			t.Errorf("%q: status %d, want %d\nstdout %q\n   got %s\n  want %s", c.args, status, c.status, p.stdout.String(), stderr, c.stderr)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%q left %v, %v", c.args, left, err)
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	for args, want := range map[string]string{
		"--help":    "etcd starts a member",
		"-h":        "etcd starts a member",
		"--version": "etcd Version: 3.7.1\nGit SHA: ",
		"-version":  "etcd Version: 3.7.1\nGit SHA: ",
	} {
		p := start(t, t.TempDir(), nil, args)
		if status, stderr := p.end(); status != 0 || stderr != "" || !strings.HasPrefix(p.stdout.String(), want) {
			t.Errorf("%s: status %d, stderr %q, stdout %.60q", args, status, stderr, p.stdout.String())
		}
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url) //nolint:noctx // a test's own server
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestLife starts a member as the tutorial's service does, checks its ports and its log, stops it,
// and starts it again.
func TestLife(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	environ := []string{"ETCD_DATA_DIR=" + data, "ETCD_NAME=dev-master-01", "ETCD_BOGUS=1"}
	const facts = `etcd version = 3.7.1
cairn version = 
git sha = 
go version = go
platform = 
using processors 
unrecognised environment variable setting=ETCD_BOGUS
listening for peers url=http://127.0.0.1:
listening for client requests url=http://127.0.0.1:
listening for metrics url=http://127.0.0.1:
name = dev-master-01
data dir = DATA
member dir = DATA/member
heartbeat = 100ms
election = 1s
snapshot count = 10000
auto compaction = keep 1h0m0s
advertise client urls = http://127.0.0.1:1
initial advertise peer urls = http://localhost:2380
initial cluster = dev-master-01=http://localhost:2380
starting member member_id=8e9e05c52164694d cluster_id=cdf818194e3a8c32`

	var format []byte
	for run, ended := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		p := start(t, dir, environ, anyPort("--listen-metrics-urls", "http://127.0.0.1:0")...)
		peer := p.await(`listening for peers url=(\S+)`)[1]
		client := p.await(`listening for client requests url=(\S+)`)[1]
		metrics := p.await(`listening for metrics url=(\S+)`)[1]
		p.await(`ready to serve client requests$`)
		for url, want := range map[string]string{
			client + "/version":  `{"etcdserver":"3.7.1"`,
			peer + "/version":    `{"etcdserver":"3.7.1"`,
			client + "/health":   `{"health": "`,
			metrics + "/health":  `{"health":"`,
			metrics + "/metrics": "# HELP ",
			client + "/":         "404 page not found",
		} {
			if got := get(t, url); !strings.HasPrefix(got, want) {
				t.Errorf("GET %s: %.60q, want %s…", url, got, want)
			}
		}
		p.signal(ended)
		status, stderr := p.end()
		if status != 0 || p.stdout.Len() > 0 || !strings.Contains(stderr, "shutting down signal="+ended.String()) {
			t.Errorf("run %d: status %d, stdout %q, stderr\n%s", run, status, p.stdout.String(), stderr)
		}
		rest := stderr
		for _, fact := range strings.Split(strings.ReplaceAll(facts, "DATA", data), "\n") {
			if run == 1 && strings.HasPrefix(fact, "initial") {
				if strings.Contains(stderr, fact) {
					t.Errorf("a member that exists logs %q", fact)
				}
				continue
			}
			_, after, ok := strings.Cut(rest, " | etcd: "+fact)
			if !ok {
				t.Errorf("run %d: no %q, or not in its place, in\n%s", run, fact, stderr)
				continue
			}
			rest = after
		}
		now, err := os.ReadFile(filepath.Join(data, "member", "FORMAT"))
		if err != nil {
			t.Fatal(err)
		}
		if run == 1 && !bytes.Equal(format, now) {
			t.Errorf("FORMAT changed from %q to %q", format, now)
		}
		format = now
	}
}

func TestDataDirInUse(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, nil, anyPort()...)
	p.await(`no data directory given, using the default data_dir=default.etcd`)
	p.await(`ready to serve`)
	second := start(t, dir, nil, anyPort("--log-outputs", "/dev/null")...)
	status, stderr := second.end()
	want := fmt.Sprintf("etcd: --data-dir: data directory default.etcd: is in use by process %d: stop that or give another --data-dir", p.proc.PID())
	if status != 1 || stderr != want {
		t.Errorf("status %d\n got %s\nwant %s", status, stderr, want)
	}
	p.signal(syscall.SIGKILL)
	p.end()
	third := start(t, dir, nil, anyPort()...)
	third.await(`ready to serve`) // a killed process holds no lock
}

// TestNotify acts as the service manager.
func TestNotify(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "notify")
	conn, err := net.ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	receive := func() string {
		t.Helper()
		buffer := make([]byte, 100)
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		n, _, err := conn.ReadFrom(buffer)
		if err != nil {
			t.Fatal(err)
		}
		return string(buffer[:n])
	}
	p := start(t, dir, []string{"NOTIFY_SOCKET=" + path}, anyPort()...)
	if got := receive(); got != "READY=1" {
		t.Errorf("systemd received %q", got)
	}
	p.await(`ready to serve`)
	p.signal(syscall.SIGTERM)
	if got := receive(); got != "STOPPING=1" {
		t.Errorf("systemd received %q", got)
	}
	p.end()

	p = start(t, dir, []string{"INVOCATION_ID=x"}, anyPort()...)
	p.await(`systemd does not wait for readiness want="?Type=notify`)
}

// TestSecondSignal blocks the graceful shutdown by a request that does not end, and sends a second
// signal.
func TestSecondSignal(t *testing.T) {
	p := start(t, t.TempDir(), nil, anyPort("--enable-pprof")...)
	client := p.await(`listening for client requests url=(\S+)`)[1]
	p.await(`ready to serve`)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, client+"/debug/pprof/trace?seconds=60", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(r) // the response's headers have arrived: the request is in progress
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	p.signal(syscall.SIGTERM)
	p.await(`shutting down`)
	p.signal(syscall.SIGTERM)
	if status, stderr := p.end(); status != 1 || !strings.HasSuffix(stderr, "etcd: "+errForced.Error()) {
		t.Errorf("status %d, stderr\n%s", status, stderr)
	}
}

func TestJSONLogToFile(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, nil, anyPort("--log-format", "json", "--log-outputs", "log,stderr")...)
	p.await(`"msg":"ready to serve client requests"`)
	p.signal(syscall.SIGTERM)
	_, stderr := p.end()
	file, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil || strings.TrimSpace(string(file)) != stderr {
		t.Errorf("%v; the file has\n%s\nand the standard error\n%s", err, file, stderr)
	}
}

// TestCommandLineIsMasked gives a password, and reads the command line at /debug/vars. The member
// exists already, so that it does not register with the discovery service.
func TestCommandLineIsMasked(t *testing.T) {
	dir := t.TempDir()
	p := start(t, dir, nil, anyPort()...)
	p.await(`ready to serve client requests$`)
	p.signal(syscall.SIGTERM)
	if status, stderr := p.end(); status != 0 {
		t.Fatalf("status %d\n%s", status, stderr)
	}
	p = start(t, dir, nil, anyPort("--discovery-token=t", "--discovery-endpoints=http://u:hidden@127.0.0.1:1", "--discovery-user=u", "--discovery-password", "hidden")...)
	url := p.await(`listening for client requests url=(\S+)`)[1]
	p.await(`ready to serve client requests$`)
	resp, err := http.Get(url + "/debug/vars") //nolint:noctx // a test's own server
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || !bytes.Contains(text, []byte("--discovery-password")) || bytes.Contains(text, []byte("hidden")) {
		t.Errorf("%v\n%.600s", err, text)
	}
	p.signal(syscall.SIGTERM)
	if _, stderr := p.end(); strings.Contains(stderr, "hidden") {
		t.Errorf("the password is in the log:\n%s", stderr)
	}
}
