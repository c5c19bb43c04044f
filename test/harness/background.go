package harness

import (
	"os/exec"
	"syscall"
	"testing"

	"cairn/test/process"
)

// Launch starts a command's process with its output in a buffer. The process is killed when the
// test ends, and a failed test prints the end of its output.
func Launch(t testing.TB, cmd *exec.Cmd) (*process.Process, *Buffer) {
	t.Helper()
	output := &Buffer{}
	cmd.Stdout, cmd.Stderr = output, output
	proc, err := process.Start(cmd)
	if err != nil {
		t.Fatalf("start %q: %v", cmd.Args, err)
	}
	t.Cleanup(func() {
		_ = proc.Signal(syscall.SIGKILL)
		<-proc.Exited()
		if t.Failed() {
			t.Logf("end of what %q wrote:\n%s", cmd.Args, output.tail(8000))
		}
	})
	return proc, output
}

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
	cmd := exec.Command(c.Args[0], c.Args[1:]...)
	cmd.Env = append(s.environment(), c.Env...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	b := &Background{}
	b.proc, b.output = Launch(t, cmd)
	return b
}

// Signal sends a signal to the command, if it still runs.
func (b *Background) Signal(signal syscall.Signal) { _ = b.proc.Signal(signal) }

// Exited is closed when the command has ended.
func (b *Background) Exited() <-chan struct{} { return b.proc.Exited() }

// Output returns what the command has written so far.
func (b *Background) Output() string { return b.output.String() }
