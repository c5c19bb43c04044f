package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"cairn/test/fleet"
)

// On a machine without free processors members do not get what they need within any fixed time:
// followers hear their leader too late, elections follow each other, and nothing is answered. That
// is no violation, and the history is still checked. So a wait that has timed out is repeated while
// the members lack processors; a cluster that has them must recover in time.

// lackPatience bounds the time of all repetitions of one wait.
const lackPatience = 30 * time.Minute

// schedule is for how long the threads of the members ran, and were ready to run and waited for a
// processor.
type schedule struct{ ran, waited time.Duration }

// threadTimes has the schedule of each thread: those that have ended are left out.
type threadTimes map[string]schedule

// timesOf reads the schedule of the running members' threads. It is empty on a system that does
// not count it.
func timesOf(members []*fleet.Member) threadTimes {
	all := threadTimes{}
	for _, m := range members {
		paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", m.PID()))
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				continue // the thread has ended
			}
			if s, ok := parseSchedule(string(text)); ok {
				all[path] = s
			}
		}
	}
	return all
}

// parseSchedule parses the kernel's schedstat: nanoseconds that a thread ran, nanoseconds that it
// waited, and a count.
func parseSchedule(text string) (s schedule, ok bool) {
	f := strings.Fields(text)
	if len(f) < 2 {
		return s, false
	}
	ran, err := strconv.ParseInt(f[0], 10, 64)
	waited, waitedErr := strconv.ParseInt(f[1], 10, 64)
	return schedule{ran: time.Duration(ran), waited: time.Duration(waited)}, err == nil && waitedErr == nil
}

// since returns the sum over all threads since earlier times.
func (now threadTimes) since(before threadTimes) (sum schedule) {
	for path, s := range now {
		sum.ran += s.ran - before[path].ran
		sum.waited += s.waited - before[path].waited
	}
	return sum
}

// lacking reports whether threads waited for a processor for at least as long as they ran on one.
func (s schedule) lacking() bool { return s.ran > 0 && s.waited >= s.ran }

// errLack reports that a wait has timed out for lack of processors.
var errLack = errors.New("lack of processors")

// blameLack adds errLack to an error that is due to the end of ctx, if the members lacked
// processors since earlier times.
func (b *bout) blameLack(ctx context.Context, before threadTimes, err error) error {
	if err == nil || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return err
	}
	s := timesOf(b.fleet.Members()).since(before)
	if !s.lacking() {
		return err
	}
	b.lacks++
	return fmt.Errorf("%w: the members ran for %.1f s, and waited for a processor for %.1f s: %w", errLack, s.ran.Seconds(), s.waited.Seconds(), err)
}

// patiently calls do with a limit of time. When that has ended for lack of processors, it says so
// and calls do again, until enough returns true or lackPatience has ended. A nil enough never does.
func (b *bout) patiently(ctx context.Context, limit time.Duration, do func(context.Context) error, enough func() bool) error {
	end := time.Now().Add(lackPatience)
	for {
		before := timesOf(b.fleet.Members())
		one, cancel := context.WithTimeout(ctx, limit)
		err := b.blameLack(one, before, do(one))
		cancel()
		if !errors.Is(err, errLack) || ctx.Err() != nil || time.Now().After(end) {
			return err
		}
		b.note("not within %v: %v", limit, err)
		if enough != nil && enough() {
			return err
		}
	}
}
