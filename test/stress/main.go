// Command stress runs the tests of packages as a busy machine does, to find tests that depend on
// time: it stops the test's processes at random moments, all of them or some, mostly for 50 to 300
// ms and sometimes for seconds, and uses one, two or four processors.
//
// It owns the processes that it starts, and stops only those. Processes that a test has stopped
// itself stay stopped. It does not judge: a test that fails shows a fault of the test or of the
// program; its output is kept, and the last line names the file. The exit status is 1 when a test
// has failed.
//
// Concurrency: one test binary runs at a time, beside the goroutine that stops its processes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

var (
	rounds  = flag.Int("rounds", 1, "how often each package is tested")
	long    = flag.Float64("long", 0.02, "the share of the stops that last 2 to 3 s")
	timeout = flag.Duration("timeout", 15*time.Minute, "how long the tests of a package may take")
	run     = flag.String("run", "", "only the tests that match, as in go test")
	keep    = flag.String("dir", filepath.Join(os.TempDir(), "cairn-stress"), "directory for test binaries and the output of tests that fail")
)

func main() {
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: go run ./test/stress [flags] ./PACKAGE…")
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	failed, err := stressAll(ctx, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "stress:", err)
	}
	if failed || err != nil {
		os.Exit(1)
	}
}

func stressAll(ctx context.Context, packages []string) (failed bool, err error) {
	if err := os.MkdirAll(*keep, 0o700); err != nil {
		return false, err
	}
	for _, dir := range packages {
		name := strings.ReplaceAll(strings.Trim(filepath.ToSlash(filepath.Clean(dir)), "./"), "/", "_")
		binary := filepath.Join(*keep, name+".test")
		build := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, dir)
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return failed, fmt.Errorf("build the tests of %s: %w", dir, err)
		}
		for range *rounds {
			ok, err := stress(ctx, binary, dir)
			if err != nil {
				return failed, err
			}
			failed = failed || !ok
		}
	}
	return failed, nil
}

// stress runs a test binary once, and reports whether its tests have passed.
func stress(ctx context.Context, binary, dir string) (passed bool, err error) {
	processors := []string{"1", "2", "4"}[rand.IntN(3)]
	output, err := os.CreateTemp(*keep, filepath.Base(binary)+".*.txt")
	if err != nil {
		return false, err
	}
	defer output.Close()
	cmd := exec.CommandContext(ctx, binary, "-test.v", "-test.shuffle=on", "-test.timeout="+timeout.String(), "-test.run="+*run)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, output, output
	cmd.Env = append(os.Environ(), "GOMAXPROCS="+processors)
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return false, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	err = stopUntil(ended, cmd.Process.Pid)
	took := time.Since(began).Round(time.Second)
	if err == nil {
		fmt.Printf("ok    %s  %v  GOMAXPROCS=%s\n", dir, took, processors)
		return true, os.Remove(output.Name())
	}
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		return false, err
	}
	fmt.Printf("FAIL  %s  %v  GOMAXPROCS=%s: %v: %s\n", dir, took, processors, err, output.Name())
	return false, ctx.Err()
}

// stopUntil stops and continues a process and its descendants until the process has ended, and
// returns how.
func stopUntil(ended <-chan error, pid int) error {
	for {
		select {
		case err := <-ended:
			return err
		case <-time.After(between(100*time.Millisecond, 700*time.Millisecond)):
		}
		running, err := descendants(pid)
		if err != nil {
			return err
		}
		if rand.IntN(5) < 2 && len(running) > 1 {
			rand.Shuffle(len(running), func(i, j int) { running[i], running[j] = running[j], running[i] })
			running = running[:1+rand.IntN(len(running)-1)]
		}
		lasts := between(50*time.Millisecond, 300*time.Millisecond)
		if rand.Float64() < *long {
			lasts = between(2*time.Second, 3*time.Second)
		}
		for _, p := range running {
			_ = syscall.Kill(p, syscall.SIGSTOP) // it may have ended
		}
		time.Sleep(lasts)
		for _, p := range running {
			_ = syscall.Kill(p, syscall.SIGCONT)
		}
	}
}

func between(least, most time.Duration) time.Duration { return least + rand.N(most-least) }

// descendants returns a process and those below it that are not stopped.
func descendants(root int) (running []int, err error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children, stopped := map[int][]int{}, map[int]bool{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		// The name of the program, in brackets, may contain spaces.
		_, fields, _ := strings.Cut(string(text[strings.LastIndexByte(string(text), ')')+1:]), " ")
		var pid, parent int
		var state string
		if _, err := fmt.Sscan(string(text), &pid); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if _, err := fmt.Sscan(fields, &state, &parent); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		children[parent] = append(children[parent], pid)
		stopped[pid] = strings.ContainsAny(state, "TtZX")
	}
	for left := []int{root}; len(left) > 0; {
		p := left[0]
		left = append(left[1:], children[p]...)
		if !stopped[p] {
			running = append(running, p)
		}
	}
	return running, nil
}
