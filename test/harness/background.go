package harness

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// Background is a client's command that runs beside the test.
type Background struct {
	cmd    *exec.Cmd
	output *Buffer
	exited chan struct{} // closed when cmd has ended and has been waited for
}

// Begin starts a command in a server's directory as Run does, and leaves it running. It is killed
// when the test ends, and a failed test prints the end of its output. The command runs as the user
// as, if that is not nil.
func (s *Server) Begin(t testing.TB, c Command, as *syscall.Credential) *Background {
	t.Helper()
	b := &Background{cmd: exec.Command(c.Args[0], c.Args[1:]...), output: &Buffer{}, exited: make(chan struct{})}
	b.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "LANG=C.UTF-8", "TZ=UTC", "ETCDCTL_ENDPOINTS=" + s.URL()}, c.Env...)
	b.cmd.Dir, b.cmd.Stdout, b.cmd.Stderr = s.dir, b.output, b.output
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: as}
	if err := b.cmd.Start(); err != nil {
		t.Fatalf("start %q: %v", c.Args, err)
	}
	go func() {
		_ = b.cmd.Wait() // how it ended is in cmd.ProcessState
		close(b.exited)
	}()
	t.Cleanup(func() {
		b.Signal(syscall.SIGKILL)
		<-b.exited
		if t.Failed() {
			t.Logf("end of what %q wrote:\n%s", c.Args, b.output.tail(8000))
		}
	})
	return b
}

// Signal sends a signal to the command, if it still runs.
func (b *Background) Signal(signal syscall.Signal) { _ = b.cmd.Process.Signal(signal) }

// Exited is closed when the command has ended.
func (b *Background) Exited() <-chan struct{} { return b.exited }

// Output returns what the command has written so far.
func (b *Background) Output() string { return b.output.String() }
