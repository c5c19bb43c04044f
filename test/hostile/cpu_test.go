package hostile

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// clockTick is the unit of the processor times in /proc/PID/stat: USER_HZ, which is 100 on every
// architecture of Linux that Go supports.
const clockTick = time.Second / 100

// memberCPU returns the processor time that the member has used.
func (x *target) memberCPU(t *testing.T) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", x.server.PID()))
	if err != nil {
		t.Fatalf("the member has ended: %v", err)
	}
	// The second field is the program's name in parentheses; utime and stime are the 14th and 15th.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(user+system) * clockTick
}

// ownCPU returns the processor time that the attacker has used.
func ownCPU(t *testing.T) time.Duration {
	t.Helper()
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		t.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// awaitQuiet returns once the member has finished with the attack before, or after half a minute.
func (x *target) awaitQuiet(t *testing.T) {
	t.Helper()
	const interval = 200 * time.Millisecond
	for begun := time.Now(); time.Since(begun) < 30*time.Second; {
		before := x.memberCPU(t)
		time.Sleep(interval) // over which its use of the processors is measured
		if x.memberCPU(t)-before <= interval/10 {
			return
		}
	}
}
