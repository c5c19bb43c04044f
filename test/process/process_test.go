package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

const patience = time.Minute

func TestProcessEnds(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p, err := Start(exec.Command("sh", "-c", "exit 3"))
	if err != nil {
		t.Fatal(err)
	}
	state, err := p.Await(ctx)
	if err != nil || state.ExitCode() != 3 || p.Running() || p.State() != state {
		t.Errorf("ended with %v, %v; running: %t", state, err, p.Running())
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("a signal to a process that has ended: %v", err)
	}
}

func TestProcessIsKilled(t *testing.T) {
	p, err := Start(exec.Command("sleep", "1000"))
	if err != nil {
		t.Fatal(err)
	}
	stopped, cancel := context.WithCancel(context.Background())
	cancel()
	if state, err := p.Await(stopped); !errors.Is(err, context.Canceled) || state != nil || p.State() != nil {
		t.Errorf("a running process ended with %v, %v", state, err)
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	state, err := p.Await(ctx)
	if err != nil || state.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("ended with %v, %v, want SIGKILL", state, err)
	}
}

// TestPause: when Pause returns, every thread of the process is stopped; also the second time, and
// also when the process has ended.
func TestPause(t *testing.T) {
	p, err := Start(exec.Command("sh", "-c", "while :; do :; done"))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := p.Pause(); err != nil {
			t.Fatal(err)
		}
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
		if err != nil {
			t.Fatal(err)
		}
		if state := strings.Fields(string(stat))[2]; state != "T" {
			t.Fatalf("a paused process is in state %s, want T", state)
		}
		if err := p.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := p.Await(ctx); err != nil {
		t.Fatal(err)
	}
	if err := p.Pause(); err != nil {
		t.Errorf("pause a process that has ended: %v", err)
	}
}

func TestProcessCannotStart(t *testing.T) {
	if p, err := Start(exec.Command("/does/not/exist")); err == nil {
		t.Errorf("started %d", p.PID())
	}
}
