// Package guides types README.md and the guides of docs/guides in one shell, one after the other,
// as a reader does, and compares the output with the text.
//
// It owns how a guide is typed: each line of a ```console block that begins with "$ " goes to bash;
// the lines below it are the expected output, standard error included. The shell starts in a
// directory that looks like the repository after `make build`; the guides' ports are replaced by
// free ones. A guide must leave the shell as it found it: the same directory, no job running.
//
// Concurrency: none; one shell runs one command at a time.
package guides

import (
	"bufio"
	"cmp"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"cairn/test/harness"
)

var rewrite = flag.Bool("rewrite", false, "write what the commands print into the guides")

func TestMain(m *testing.M) { harness.Main(m) }

// typedGuides are typed in this order, paths from the repository's root.
var typedGuides = []string{
	"README.md",
	"docs/guides/v2-to-v3.md",
	"docs/guides/cluster.md",
	"docs/guides/backup.md",
	"docs/guides/disaster.md",
	"docs/guides/tls.md",
	"docs/guides/locks.md",
	"docs/guides/monitoring.md",
	"docs/guides/authentication.md",
	"docs/guides/upgrade.md",
	"docs/guides/from-etcd.md",
	"docs/guides/discovery.md",
}

// needs has the third-party programs of a guide: it is not typed where they are missing.
var needs = map[string]string{"docs/guides/from-etcd.md": "/usr/bin/etcd"}

// patience is the maximum duration of one guide: far more than usual, so that a busy machine fails
// no test.
const patience = 6 * time.Minute

func TestGuides(t *testing.T) {
	if other := harness.Reference(t); other != "" {
		t.Skip("the guides are for cairn, not for " + other)
	}
	s := newShell(t)
	for _, guide := range typedGuides {
		if !t.Run(guide, func(t *testing.T) {
			if program := needs[guide]; program != "" {
				harness.Needs(t, program, "etcd-server")
			}
			s.follow(t, guide)
		}) {
			return // the shell is not in the state that the next guide expects
		}
	}
}

// TestAllGuidesAreTyped: a guide with commands is in typedGuides.
func TestAllGuidesAreTyped(t *testing.T) {
	pages, err := filepath.Glob("../../docs/guides/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(page, "../../")
		listed := false
		for _, guide := range typedGuides {
			listed = listed || guide == name
		}
		if strings.Contains(string(text), "```console\n") && !listed {
			t.Errorf("%s has commands and is not in typedGuides", name)
		}
	}
}

// shell is a bash that reads commands from a pipe.
type shell struct {
	in    io.Writer
	out   *bufio.Reader
	root  string            // the working directory that each guide starts in
	free  map[string]string // free ports, by the guides' ports
	guide map[string]string // the guides' ports, by the free ones
	kill  func()
	// environment is the line that precedes each guide.
	environment string
}

func newShell(t *testing.T) *shell {
	t.Helper()
	// The guides' mktemp -d uses TMPDIR, which is removed after the test.
	s := &shell{root: t.TempDir()}
	temporary := t.TempDir()
	if err := os.Mkdir(filepath.Join(s.root, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"etcd": harness.Etcd(t), "etcdctl": harness.Etcdctl(t), "etcdutl": harness.Etcdutl(t)} {
		if err := os.Symlink(path, filepath.Join(s.root, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	// The programs are built already: `make build` must do nothing.
	if err := os.WriteFile(filepath.Join(s.root, "Makefile"), []byte("build:\n\t@true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.free, s.guide = map[string]string{}, map[string]string{}
	for _, port := range []string{"2379", "2380", "22379", "22380", "32379", "32380", "42379", "42380", "52379", "52380"} {
		ours := harness.FreePort(t)
		s.free[port], s.guide[ours] = ours, port
	}
	cmd := exec.Command("bash", "--norc", "--noprofile")
	cmd.Dir = s.root
	// Nothing else of the environment changes what the commands print: no language, no proxy, no
	// variable of etcd, of bash or of make, no file in the home directory.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TMPDIR=" + temporary, "LC_ALL=C.UTF-8"}
	client, peer := "http://127.0.0.1:"+s.free["2379"], "http://127.0.0.1:"+s.free["2380"]
	// Defaults of programs when the guide names no port. A guide may unset them.
	s.environment = "export ETCDCTL_ENDPOINTS=" + client + " ETCD_LISTEN_CLIENT_URLS=" + client + " ETCD_ADVERTISE_CLIENT_URLS=" + client +
		" ETCD_LISTEN_PEER_URLS=" + peer + " ETCD_INITIAL_ADVERTISE_PEER_URLS=" + peer + " ETCD_INITIAL_CLUSTER=default=" + peer +
		// A machine that stops for 2 s fails no command, of either dialect.
		" " + strings.Join(harness.OurPatience, " ")
	// A separate process group, so that processes left by a guide can be killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	s.in, s.out = in, bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.kill = func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	t.Cleanup(func() {
		s.kill()
		_ = cmd.Wait()
		if t.Failed() {
			showLogs(t, s.root, temporary)
		}
	})
	return s
}

func showLogs(t *testing.T, root, temporary string) {
	logs, _ := filepath.Glob(filepath.Join(root, "*.log"))
	below, _ := filepath.Glob(filepath.Join(temporary, "*", "*.log"))
	for _, path := range append(logs, below...) {
		if text, err := os.ReadFile(path); err == nil {
			t.Logf("end of %s:\n%s", path, text[max(0, len(text)-3000):])
		}
	}
}

// numeral matches a complete number. A port's digits may be part of another number, such as the
// name of a temporary directory.
var numeral = regexp.MustCompile(`\b\d+\b`)

// replacePorts replaces the numbers of a text that are keys of ports.
func replacePorts(text string, ports map[string]string) string {
	return numeral.ReplaceAllStringFunc(text, func(number string) string { return cmp.Or(ports[number], number) })
}

const mark = "--- end of output ---"

// enter runs a line in the shell and returns what it printed.
func (s *shell) enter(t *testing.T, line string) string {
	t.Helper()
	if _, err := fmt.Fprintf(s.in, "%s\necho '%s'\n", replacePorts(line, s.free), mark); err != nil {
		t.Fatalf("enter %q: %v", line, err)
	}
	var output strings.Builder
	for {
		text, err := s.out.ReadString('\n')
		before, last := strings.CutSuffix(text, mark+"\n")
		output.WriteString(before)
		if last {
			return replacePorts(output.String(), s.guide)
		}
		if err != nil {
			t.Fatalf("%s printed\n%s\nand did not end within %v: %v", line, output.String(), patience, err)
		}
	}
}

// follow types a guide.
func (s *shell) follow(t *testing.T, guide string) {
	file := "../../" + guide
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(patience, s.kill)
	defer timer.Stop()
	s.enter(t, s.environment)
	var page strings.Builder
	for _, part := range split(string(text)) {
		page.WriteString(part.text)
		if part.command == "" {
			continue
		}
		began := time.Now()
		got := s.enter(t, part.command)
		t.Logf("%6.2f s: %s", time.Since(began).Seconds(), part.command)
		if got != "" && !strings.HasSuffix(got, "\n") {
			got += "\n"
		}
		page.WriteString("$ " + part.command + "\n" + got)
		if got != part.output && !*rewrite {
			t.Fatalf("%s:\n$ %s\nprints\n%s\nthe guide has\n%s", guide, part.command, got, part.output)
		}
	}
	if *rewrite {
		if err := os.WriteFile(file, []byte(page.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if dir := s.enter(t, "pwd"); dir != s.root+"\n" {
		t.Errorf("%s ends in the directory %s, want its initial one, %s", guide, dir, s.root)
	}
	if jobs := s.enter(t, "jobs -r"); jobs != "" {
		t.Errorf("%s ends while these run:\n%s", guide, jobs)
	}
}

// part is a piece of a guide: text, or a command with its output in the guide.
type part struct{ text, command, output string }

func split(page string) (parts []part) {
	inside := false
	for line := range strings.Lines(page) {
		typed, isCommand := strings.CutPrefix(line, "$ ")
		switch {
		case line == "```console\n":
			inside = true
		case line == "```\n":
			inside = false
		case inside && isCommand:
			parts = append(parts, part{command: strings.TrimSuffix(typed, "\n")})
			continue
		case inside && len(parts) > 0 && parts[len(parts)-1].command != "":
			parts[len(parts)-1].output += line
			continue
		}
		parts = append(parts, part{text: line})
	}
	return parts
}
