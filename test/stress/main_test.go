package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"cairn/test/harness"
	"cairn/test/process"
)

// TestStopUntil stops and continues a process until it ends, and finds its child. The process that
// runs the test, and those that are stopped already, are left alone.
func TestStopUntil(t *testing.T) {
	p, err := process.Start(exec.Command("sh", "-c", "sleep 1000 & wait"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Signal(os.Kill) }()
	below := func() []int {
		t.Helper()
		running, err := descendants(p.PID())
		if err != nil {
			t.Fatal(err)
		}
		return running
	}
	harness.Await(t, "a child", func() bool { return len(below()) == 2 })
	if got := below(); got[0] != p.PID() || slices.Contains(got, os.Getpid()) {
		t.Errorf("below %d are %v", p.PID(), got)
	}
	child := below()[1]
	defer func() {
		if c, err := os.FindProcess(child); err == nil {
			_ = c.Kill()
		}
	}()
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	if got := below(); len(got) != 1 || got[0] != child {
		t.Errorf("without the stopped process %d there are %v, want %d", p.PID(), got, child)
	}
	ended := make(chan error, 1)
	go func() {
		var stat []byte
		for !strings.Contains(string(stat), ") T ") { // the child is stopped
			stat, _ = os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
			time.Sleep(time.Millisecond)
		}
		ended <- os.ErrClosed
	}()
	if err := stopUntil(ended, p.PID()); err != os.ErrClosed { //nolint:errorlint // returned as it is
		t.Errorf("ended with %v", err)
	}
	harness.Await(t, "the child runs again", func() bool { return slices.Contains(below(), child) })
}
