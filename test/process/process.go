// Package process starts the processes of tests and of the torture program, and finds ports for
// them.
//
// It owns how a process ends: with its parent, even when that is killed, and observed by one
// goroutine that waits for it. It knows neither flags nor health of the programs; packages harness
// (one server) and fleet (clusters) do.
//
// Invariants: Exited is closed only after the process has ended and has been waited for
// [TestProcessEnds]; no two processes of tests have one port at the same time [TestReserve].
//
// Concurrency: all methods may be called at the same time.
package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Process is a started process.
type Process struct {
	cmd    *exec.Cmd
	exited chan struct{}
}

// Start starts a command, whose process is killed when this one ends.
func Start(cmd *exec.Cmd) (*Process, error) { return StartBy(cmd, startLasting) }

// StartBy is Start with another function that starts the command, for example on another host.
func StartBy(cmd *exec.Cmd, start func(*exec.Cmd) error) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := start(cmd); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // the result is in cmd.ProcessState
		close(p.exited)
	}()
	return p, nil
}

// lasting runs functions on a thread that lives as long as this process. Pdeathsig refers to the
// parent thread: a child is killed when the thread that started it ends, and threads end in a
// process that uses network namespaces.
var lasting = sync.OnceValue(func() chan<- func() {
	do := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range do {
			f()
		}
	}()
	return do
})

func startLasting(cmd *exec.Cmd) error {
	started := make(chan error)
	lasting() <- func() { started <- cmd.Start() }
	return <-started
}

// PID returns the process ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Exited returns a channel that is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Running reports whether the process has not ended yet. A stopped process (SIGSTOP) runs.
func (p *Process) Running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// State returns the process's final state, nil while it runs.
func (p *Process) State() *os.ProcessState {
	if p.Running() {
		return nil
	}
	return p.cmd.ProcessState
}

// Signal sends a signal to the process. It does nothing when the process has ended.
func (p *Process) Signal(signal os.Signal) error {
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %v to process %d: %w", signal, p.PID(), err)
	}
	return nil
}

// Pause stops the process with SIGSTOP, and returns when none of its threads runs any more: without
// waiting, one that is on a processor may still serve a request. Only the process that started it
// may call Pause. It does nothing when the process has ended; Signal with SIGCONT continues it.
func (p *Process) Pause() error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for {
		err := unix.Waitid(unix.P_PID, p.PID(), nil, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		switch {
		case err == nil || errors.Is(err, unix.ECHILD):
			return nil
		case !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait until process %d has stopped: %w", p.PID(), err)
		}
	}
}

// Await waits until the process has ended, and returns its state.
func (p *Process) Await(ctx context.Context) (*os.ProcessState, error) {
	select {
	case <-p.exited:
		return p.cmd.ProcessState, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("process %d still runs: %w", p.PID(), context.Cause(ctx))
	}
}
