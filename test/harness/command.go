package harness

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// commandMax is how long a client's command may take, unless its Limit says otherwise.
const commandMax = 2 * time.Minute

// Result is the exit status and the output of a command.
type Result struct {
	Exit           int
	Stdout, Stderr string
}

// Command is a client's command, run against a server without a terminal.
type Command struct {
	Args  []string // the program's path, and its arguments
	Env   []string // NAME=VALUE, beside a small usual environment
	Stdin string
	Limit time.Duration // how long it may take; 0 means commandMax
}

// Patience are variables with which a machine that stops for 2 s, etcdctl's default for connecting,
// fails no command of etcdctl, ours or Debian's, in v3.
var Patience = []string{"ETCDCTL_DIAL_TIMEOUT=30s", "ETCDCTL_COMMAND_TIMEOUT=60s"}

// OurPatience are those for our etcdctl in either dialect. Debian's warns of variables that it does
// not know.
var OurPatience = append(slices.Clone(Patience), "ETCDCTL_TIMEOUT=30s", "ETCDCTL_TOTAL_TIMEOUT=60s")

// environment is the usual environment of a client's command. For v2 WriteProfile has time-outs.
func (s *Server) environment() []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "LANG=C.UTF-8", "TZ=UTC", "ETCDCTL_ENDPOINTS=" + s.URL(),
	}, Patience...)
}

// WriteProfile writes a profile into a home directory that has the time-outs of OurPatience, for
// commands of our etcdctl that run in the same environment as Debian's.
func WriteProfile(t testing.TB, home string) {
	t.Helper()
	dir := filepath.Join(home, ".config", "etcdctl")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	const text = "current: patient\nprofiles:\n  patient:\n    command-timeout: 60s\n    dial-timeout: 30s\n"
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Run runs a command in a server's directory and returns its result. ETCDCTL_ENDPOINTS names the
// server. A command that cannot be started, or does not end, fails the test.
func (s *Server) Run(t testing.TB, c Command) Result {
	t.Helper()
	limit := cmp.Or(c.Limit, commandMax)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Env = append(s.environment(), c.Env...)
	cmd.Dir, cmd.Stdin = s.dir, strings.NewReader(c.Stdin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%q has not ended after %v:\n%s%s", c.Args, limit, stdout.String(), stderr.String())
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %q: %v", c.Args, err)
	}
	return Result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}
