package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"cairn/test/harness"
)

// Debian's programs (apt-get install etcd-server etcd-client), the reference for the v3 commands.
const (
	referenceServer = "/usr/bin/etcd"
	referenceClient = "/usr/bin/etcdctl"
)

// TestSideBySide runs the command lines of testdata/sidebyside.txt with Debian's etcdctl and with
// ours, each against its own fresh server of Debian's with the same identity, and compares standard
// output, standard error and exit code. Of lines that begin with ~ only the exit codes are
// compared: their texts are our own, or those of etcdctl 3.7.
func TestSideBySide(t *testing.T) { sideBySide(t, referenceServer, "3", "sidebyside.txt") }

// TestSideBySideFormats is TestSideBySide for every command in every format.
func TestSideBySideFormats(t *testing.T) { sideBySide(t, referenceServer, "3", "sidebyside3.txt") }

// TestSideBySideV2 is TestSideBySide for the v2 commands.
func TestSideBySideV2(t *testing.T) {
	sideBySide(t, referenceServer, "2", "sidebyside2.txt", "--enable-v2")
}

// TestSideBySideV2OnOurServer is TestSideBySideV2 on servers of ours.
func TestSideBySideV2OnOurServer(t *testing.T) {
	sideBySide(t, harness.Etcd(t), "2", "sidebyside2.txt")
}

// TestSideBySideOnOurServer is TestSideBySide on servers of ours.
func TestSideBySideOnOurServer(t *testing.T) { sideBySide(t, harness.Etcd(t), "3", "sidebyside.txt") }

func sideBySide(t *testing.T, server, api, file string, flags ...string) {
	t.Helper()
	t.Parallel()
	harness.Needs(t, referenceServer, "etcd-server")
	harness.Needs(t, referenceClient, "etcd-client")
	ours, err := exec.LookPath("etcdctl") // testscript.Main put it first
	if err != nil {
		t.Fatal(err)
	}
	reference, own := startSide(t, server, referenceClient, flags...), startSide(t, server, ours, flags...)
	reference.api, own.api = api, api
	lines, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(string(lines), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		line, exitOnly := strings.CutPrefix(line, "~ ")
		run := (*side).say
		if exitOnly {
			run = (*side).exitOf
		}
		response := make(chan said, 1)
		go func() { response <- run(reference, line) }()
		got, want := run(own, line), <-response
		if got != want {
			t.Errorf("line %d: %s\n--- Debian's etcdctl\n%s\n--- ours\n%s", i+1, line, want, got)
		}
	}
}

// side is a client and its server.
type side struct {
	dir, client string
	api         string            // ETCDCTL_API; 3 unless set
	names       map[string]string // replacements of the IDs seen so far
}

type said struct {
	stdout, stderr string
	exit           int
}

func (s said) String() string {
	return fmt.Sprintf("exit %d\nstdout:\n%sstderr:\n%s", s.exit, s.stdout, s.stderr)
}

// untilLines runs a command until it has written a number of lines, then prints them and ends the
// command. It also stops when the command ends by itself, or after ten seconds.
const untilLines = `#!/bin/sh
case $0 in *_lines) unit=-l ;; *) unit=-c ;; esac
want=$1; shift
: >until.out
"$@" >until.out <&0 & job=$!
for i in $(seq 1000); do
	[ $(wc $unit <until.out) -ge $want ] && break
	kill -0 $job 2>/dev/null || break
	sleep 0.01
done
kill $job 2>/dev/null
{ wait $job; } 2>/dev/null
cat until.out
`

// formats runs a command in the formats that nearly all have, and prints what it wrote and how it
// ended.
const formats = `#!/bin/sh
for format in simple json fields; do
	echo "== $format"
	"$@" -w $format </dev/null
	echo "exit $?"
done
`

// startSide starts a server that advertises fixed URLs, so that both sides have the same IDs, and
// listens on a free port.
func startSide(t *testing.T, server, client string, flags ...string) *side {
	t.Helper()
	s := &side{dir: t.TempDir(), names: map[string]string{}}
	if err := os.Symlink(client, filepath.Join(s.dir, "etcdctl")); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"until_lines": untilLines, "until_bytes": untilLines, "formats": formats} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	harness.WriteProfile(t, s.dir)
	s.client = "http://" + freeAddress(t)
	proc, logged := harness.Launch(t, exec.Command(server, append([]string{
		"--data-dir", filepath.Join(s.dir, "data"), "--log-level", "error", "--bcrypt-cost", "4",
		"--listen-client-urls", s.client, "--listen-peer-urls", "http://" + freeAddress(t),
		"--advertise-client-urls", "http://localhost:2379",
	}, flags...)...))
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		resp, err := http.Get(s.client + "/health")
		if err == nil {
			resp.Body.Close()
		}
		if err == nil && resp.StatusCode == http.StatusOK {
			return s
		}
		if !proc.Running() || time.Now().After(deadline) {
			t.Fatalf("%s is not healthy: %v\n%s", server, err, logged.String())
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	return "127.0.0.1:" + harness.FreePort(t)
}

// say runs a shell command line in which etcdctl is the side's client. The parts of its output that
// differ from run to run are replaced.
func (s *side) say(line string) said {
	raw := s.run(line)
	return said{s.normal(raw.stdout), s.normal(raw.stderr), raw.exit}
}

// exitOf runs a command line like say, and returns the exit code only.
func (s *side) exitOf(line string) said { return said{exit: s.run(line).exit} }

// lineTimeout ends a command line that hangs: its exit code is -1 then.
const lineTimeout = time.Minute

func (s *side) run(line string) said {
	ctx, cancel := context.WithTimeout(context.Background(), lineTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.WaitDelay = time.Second // for programs that hold the output open
	cmd.Dir = s.dir
	// Variables cannot set the time-outs: Debian's client refuses a variable beside its option.
	// Ours has a profile.
	cmd.Env = []string{
		"PATH=" + s.dir + ":/usr/bin:/bin", "HOME=" + s.dir, "ETCDCTL_API=" + cmp.Or(s.api, "3"), "ETCDCTL_ENDPOINTS=" + s.client, "ENDPOINT=" + s.client,
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run() // the exit code has the result
	return said{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

var (
	clientLog = regexp.MustCompile(`(?m)^\{"level":.*\n`)               // Debian's client logs each failed attempt
	ids       = regexp.MustCompile(`\b[0-9a-f]{13,16}\b|\b\d{16,20}\b`) // of leases and members, hexadecimal and decimal
	padded    = regexp.MustCompile(`(?m)^Member {2,}`)                  // before an ID below 2^60, which the sides may not share
	changing  = regexp.MustCompile(`[0-9.]+(ms|µs)|remaining\(\d+s\)|"(ttl|TTL)" ?: ?[1-9]\d*|"[rR]aft(Applied)?Index" ?: ?\d+|"(dbSize|DBSize|dbSizeInUse|CancelReason)" ?: ?("",?|\d+)|, \d+ kB, | \d+, \d+, $`)
)

// normal replaces the parts of a text that differ from run to run.
func (s *side) normal(text string) string {
	text = clientLog.ReplaceAllString(text, "")
	text = padded.ReplaceAllString(text, "Member ")
	text = ids.ReplaceAllStringFunc(text, func(id string) string {
		if s.names[id] == "" {
			s.names[id] = fmt.Sprintf("<id %d>", len(s.names)+1)
		}
		return s.names[id]
	})
	text = changing.ReplaceAllString(text, "<changing>")
	return strings.ReplaceAll(text, s.client, "<endpoint>")
}
