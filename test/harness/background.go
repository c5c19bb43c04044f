package harness

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"cairn/test/process"
)

// Background is a client's command that runs in parallel with the test.
type Background struct {
	proc   *process.Process
	output *Buffer
}

// Begin starts a command in a server's directory as Run does, and leaves it running. It is killed
// when the test ends, and a failed test prints the end of its output. The command runs as the user
// as, if that is not nil.
func (s *Server) Begin(t testing.TB, c Command, as *syscall.Credential) *Background {
	t.Helper()
	cmd, output := exec.Command(c.Args[0], c.Args[1:]...), &Buffer{}
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "LANG=C.UTF-8", "TZ=UTC", "ETCDCTL_ENDPOINTS=" + s.URL()}, c.Env...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	proc, err := process.Start(cmd)
	if err != nil {
		t.Fatalf("start %q: %v", c.Args, err)
	}
	b := &Background{proc: proc, output: output}
	t.Cleanup(func() {
		b.Signal(syscall.SIGKILL)
		<-b.Exited()
		if t.Failed() {
			t.Logf("end of what %q wrote:\n%s", c.Args, b.output.tail(8000))
		}
	})
	return b
}

// Signal sends a signal to the command, if it still runs.
func (b *Background) Signal(signal syscall.Signal) { _ = b.proc.Signal(signal) }

// Exited is closed when the command has ended.
func (b *Background) Exited() <-chan struct{} { return b.proc.Exited() }

// Output returns what the command has written so far.
func (b *Background) Output() string { return b.output.String() }
