// Package disaster types the guides on clusters, backups and lost members, docs/guides/cluster.md,
// backup.md and disaster.md, from their first line to their last, and compares the answers.
//
// It owns how a guide is typed: every line of a ```console block that begins with "$ " goes to one
// bash, whose working directory is fresh, with the guide's ports exchanged for free ones; the lines
// below it are what it must answer, standard error included. All that a guide has started ends with
// its test.
//
// Concurrency: none.
package disaster

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cairn/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestBackups(t *testing.T)     { follow(t, "../../docs/guides/backup.md") }
func TestClusters(t *testing.T)    { follow(t, "../../docs/guides/cluster.md") }
func TestLostMembers(t *testing.T) { follow(t, "../../docs/guides/disaster.md") }

// patience is how long a guide may take at most: far more than it does, so that a busy machine
// fails no test.
const patience = 3 * time.Minute

// shell is a bash that is typed to.
type shell struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.Writer
	out   *bufio.Reader
	ports *strings.Replacer // from the guide's to ours
	back  *strings.Replacer
}

func newShell(t *testing.T) *shell {
	t.Helper()
	bin, dir := t.TempDir(), t.TempDir()
	for name, path := range map[string]string{"etcd": harness.Etcd(t), "etcdctl": harness.Etcdctl(t)} {
		if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	s := &shell{t: t}
	var there, back []string
	// the longer ones first
	for _, port := range []string{"22379", "22380", "32379", "32380", "42379", "42380", "2379", "2380"} {
		ours := harness.FreePort(t)
		there, back = append(there, port, ours), append(back, ours, port)
	}
	s.ports, s.back = strings.NewReplacer(there...), strings.NewReplacer(back...)
	s.cmd = exec.Command("bash", "--norc", "--noprofile")
	s.cmd.Dir = dir
	s.cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "ETCDCTL_ENDPOINTS=http://127.0.0.1:"+s.ports.Replace("2379"))
	// A group of its own, so that what the guide leaves running can be ended.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	in, err := s.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stderr = s.cmd.Stdout
	s.in, s.out = in, bufio.NewReader(out)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := func() { _ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) }
	timer := time.AfterFunc(patience, end)
	t.Cleanup(func() {
		timer.Stop()
		end()
		_ = s.cmd.Wait()
		if t.Failed() {
			s.showLogs(dir)
		}
	})
	return s
}

func (s *shell) showLogs(dir string) {
	logs, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	for _, path := range logs {
		if text, err := os.ReadFile(path); err == nil {
			s.t.Logf("end of %s:\n%s", filepath.Base(path), text[max(0, len(text)-3000):])
		}
	}
}

const mark = "--- answered ---"

// typed types a line, and returns what it answers.
func (s *shell) typed(line string) string {
	s.t.Helper()
	if _, err := fmt.Fprintf(s.in, "%s\necho '%s'\n", s.ports.Replace(line), mark); err != nil {
		s.t.Fatalf("type %s: %v", line, err)
	}
	var answer strings.Builder
	for {
		text, err := s.out.ReadString('\n')
		before, last := strings.CutSuffix(text, mark+"\n")
		answer.WriteString(before)
		if last {
			return s.back.Replace(answer.String())
		}
		if err != nil {
			s.t.Fatalf("%s answered\n%s\nand then nothing for the rest of %v: %v", line, answer.String(), patience, err)
		}
	}
}

// follow types a guide.
func follow(t *testing.T, file string) {
	if other := harness.Reference(t); other != "" {
		t.Skip("these are guides to cairn, not to " + other)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s := newShell(t)
	commands, inside := 0, false
	var command, want string
	compare := func() {
		if command == "" {
			return
		}
		began := time.Now()
		got := s.typed(command)
		t.Logf("%6.2f s: %s", time.Since(began).Seconds(), command)
		if got != want {
			t.Fatalf("%s:\n$ %s\nanswers\n%s\nthe guide says\n%s", file, command, got, want)
		}
		commands++
		command, want = "", ""
	}
	for line := range strings.Lines(string(text)) {
		switch next, isCommand := strings.CutPrefix(line, "$ "); {
		case line == "```console\n":
			inside = true
		case line == "```\n":
			compare()
			inside = false
		case inside && isCommand:
			compare()
			command = strings.TrimSuffix(next, "\n")
		case inside:
			want += line
		}
	}
	if commands < 20 {
		t.Errorf("%s has only %d commands", file, commands)
	}
}
