package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is the unit of the times in /proc/PID/stat: USER_HZ, which is 100 per second on every
// Linux of today, whatever the kernel's own timer (proc(5), sysconf(_SC_CLK_TCK)).
const clockTick = 10 * time.Millisecond

// usageSample is a process's resource usage at one moment. CPU counts since its start; memory is
// the current value, and peak the highest since its start.
type usageSample struct {
	user, system      time.Duration
	rssBytes, rssPeak int64
	written           int64         // bytes to disks since the start
	present           bool          // false: no process was given
	client            time.Duration // CPU of bench itself
}

// cpu returns the process's CPU time, in the kernel and outside it.
func (u usageSample) cpu() time.Duration { return u.user + u.system }

// sampleBoth samples the server, unless pid is 0, and bench itself.
func sampleBoth(pid int) (usageSample, error) {
	var u usageSample
	if pid != 0 {
		var err error
		if u, err = sampleProcess(pid); err != nil {
			return u, err
		}
	}
	var self syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &self); err != nil {
		return u, fmt.Errorf("read own CPU time: %w", err)
	}
	u.client = time.Duration(self.Utime.Nano() + self.Stime.Nano())
	return u, nil
}

// sampleProcess reads a process's CPU time and memory from /proc.
func sampleProcess(pid int) (usageSample, error) {
	u := usageSample{present: true}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, fmt.Errorf("read the server's CPU time: process %d: %w", pid, err)
	}
	if u.user, u.system, err = parseStat(string(stat)); err != nil {
		return u, fmt.Errorf("/proc/%d/stat: %w", pid, err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, fmt.Errorf("read the server's memory: process %d: %w", pid, err)
	}
	if u.rssBytes, u.rssPeak, err = parseStatus(string(status)); err != nil {
		return u, fmt.Errorf("/proc/%d/status: %w", pid, err)
	}
	if u.written, err = readWritten(pid); err != nil {
		return u, err
	}
	return u, nil
}

// readWritten reads write_bytes of /proc/PID/io (proc(5)).
func readWritten(pid int) (written int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0, fmt.Errorf("read the server's writes: process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "write_bytes:"); ok {
			return strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		}
	}
	return 0, fmt.Errorf("/proc/%d/io has no write_bytes", pid)
}

// parseStat reads utime and stime, fields 14 and 15 of /proc/PID/stat (proc(5)). Field 2, the
// program's name in parentheses, may contain spaces and parentheses, so fields are counted from the
// last one.
func parseStat(stat string) (user, system time.Duration, err error) {
	nameEnd := strings.LastIndexByte(stat, ')')
	if nameEnd < 0 {
		return 0, 0, fmt.Errorf("no program name in %.80q", stat)
	}
	fields := strings.Fields(stat[nameEnd+1:]) // fields[0] is field 3
	const utime, stime = 14 - 3, 15 - 3
	if len(fields) <= stime {
		return 0, 0, fmt.Errorf("%d fields behind the program's name, want more than %d", len(fields), stime)
	}
	ticks := [2]int64{}
	for i, field := range []string{fields[utime], fields[stime]} {
		if ticks[i], err = strconv.ParseInt(field, 10, 64); err != nil {
			return 0, 0, fmt.Errorf("CPU time %q: %w", field, err)
		}
	}
	return time.Duration(ticks[0]) * clockTick, time.Duration(ticks[1]) * clockTick, nil
}

// parseStatus reads VmRSS and VmHWM (the peak of VmRSS) of /proc/PID/status, in bytes.
func parseStatus(status string) (rss, peak int64, err error) {
	found := 0
	for line := range strings.Lines(status) {
		name, rest, _ := strings.Cut(line, ":")
		var to *int64
		switch name {
		case "VmRSS":
			to = &rss
		case "VmHWM":
			to = &peak
		default:
			continue
		}
		number, isKiB := strings.CutSuffix(strings.TrimSpace(rest), " kB")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || !isKiB {
			return 0, 0, fmt.Errorf("%s %q: want a number of kB", name, strings.TrimSpace(rest))
		}
		*to = n << 10
		found++
	}
	if found != 2 { // a zombie has neither
		return 0, 0, fmt.Errorf("no VmRSS and VmHWM: the process has ended or is a kernel thread")
	}
	return rss, peak, nil
}
