// Package terminal runs programs on pseudo-terminals and shows what a user would see there.
//
// It owns the pseudo-terminals, their sizes, and a small emulator with the control sequences that
// our programs and bash write. It does not own the programs.
//
// Invariants: the screen has as many lines and columns as the program was told by the system
// [TestEmulator].
//
// Concurrency: all methods may be called at the same time.
package terminal

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"cairn/test/harness"
	"cairn/test/process"
)

// Terminal is a program that runs on a pseudo-terminal.
type Terminal struct {
	t      testing.TB
	master *os.File
	proc   *process.Process

	mu     sync.Mutex // guards screen and raw
	screen emulator
	raw    strings.Builder
}

// Start runs a command on a new terminal of a size. The process is killed when the test ends.
func Start(t testing.TB, cmd *exec.Cmd, columns, lines int) *Terminal {
	t.Helper()
	master, name, err := open()
	if err != nil {
		harness.CannotRun(t, "no pseudo-terminals: %v", err)
	}
	w := &Terminal{t: t, master: master}
	w.Resize(columns, lines)
	slave, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	w.proc, err = process.Start(cmd)
	if closed := slave.Close(); err != nil || closed != nil {
		t.Fatalf("start %q: %v, %v", cmd.Args, err, closed)
	}
	var reading sync.WaitGroup
	reading.Go(w.read)
	t.Cleanup(func() {
		_ = w.proc.Signal(syscall.SIGKILL)
		<-w.proc.Exited()
		reading.Wait()
		_ = master.Close()
		if t.Failed() {
			t.Logf("the terminal of %q showed:\n%s", cmd.Args, strings.Join(w.Screen(), "\n"))
		}
	})
	return w
}

// open opens a new pseudo-terminal and returns the name of the program's side.
func open() (master *os.File, name string, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, "", err
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, "", err
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	return os.NewFile(uintptr(fd), "/dev/ptmx"), fmt.Sprintf("/dev/pts/%d", number), err
}

// read shows what the program writes until it has ended.
func (w *Terminal) read() {
	buffer := make([]byte, 4096)
	for {
		n, err := w.master.Read(buffer)
		w.mu.Lock()
		w.raw.Write(buffer[:n])
		w.screen.write(buffer[:n])
		w.mu.Unlock()
		if err != nil {
			return // EIO: no process has the other side open any longer
		}
	}
}

// Resize changes the size of the terminal. The system notifies the program by SIGWINCH.
func (w *Terminal) Resize(columns, lines int) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.screen.resize(columns, lines)
	size := unix.Winsize{Row: uint16(lines), Col: uint16(columns)}
	if err := unix.IoctlSetWinsize(int(w.master.Fd()), unix.TIOCSWINSZ, &size); err != nil {
		w.t.Fatal(err)
	}
}

// Type sends keys.
func (w *Terminal) Type(keys string) {
	w.t.Helper()
	if _, err := w.master.WriteString(keys); err != nil {
		w.t.Fatal(err)
	}
}

// Screen returns the lines that the terminal shows, without spaces at their ends.
func (w *Terminal) Screen() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.screen.text()
}

// Raw returns all bytes that the program has written.
func (w *Terminal) Raw() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.raw.String()
}

// Await waits until the screen is as wanted.
func (w *Terminal) Await(what string, wanted func(lines []string) bool) {
	w.t.Helper()
	harness.Await(w.t, what, func() bool { return wanted(w.Screen()) })
}

// Exited is closed when the program has ended.
func (w *Terminal) Exited() <-chan struct{} { return w.proc.Exited() }
