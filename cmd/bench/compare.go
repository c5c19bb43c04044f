package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// comparison has the values of the flags of `bench compare`.
type comparison struct {
	theirs, ours program
	scenarios    []scenario
	runs         int
	dir          string
	output       string
	short        bool
	secure       bool
	duration     time.Duration
	warmup       time.Duration
}

func parseComparison(args []string, help io.Writer) (comparison, error) {
	var c comparison
	flags := flag.NewFlagSet("compare", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&c.ours.path, "ours", "bin/etcd", "`path` of our server")
	flags.StringVar(&c.theirs.path, "theirs", "/usr/bin/etcd", "`path` of the server to compare with")
	oursArgs := flags.String("ours-args", "", "further `flags` for our server, separated by spaces")
	theirsArgs := flags.String("theirs-args", "--enable-v2=true", "further `flags` for theirs, separated by spaces; empty for etcd 3.6 and later, which have no v2")
	clustered := flags.Bool("cluster", false, fmt.Sprintf("compare clusters of %d members instead of single ones", clusterSize))
	flags.BoolVar(&c.secure, "tls", false, "mutual TLS on the client ports, with certificates made for the run")
	pattern := flags.String("run", "", "`regexp`: only the scenarios whose name matches")
	flags.IntVar(&c.runs, "runs", 3, "runs of each scenario on each server; the median counts")
	flags.StringVar(&c.dir, "dir", os.TempDir(), "`directory` on a real disk, in which the servers get theirs")
	flags.DurationVar(&c.duration, "duration", 10*time.Second, "time to measure each load")
	flags.DurationVar(&c.warmup, "warmup", 2*time.Second, "time to run each load before measuring")
	flags.BoolVar(&c.short, "short", false, "smoke test: 1 run of 1s, 1/100 of the keys; its figures mean nothing")
	flags.StringVar(&c.output, "o", "text", "`format` of the table: text, markdown or json")
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		compareHelp(help, flags)
		return c, err
	}
	if err != nil {
		return c, fmt.Errorf("compare: %w", err)
	}
	c.ours.args, c.theirs.args = strings.Fields(*oursArgs), strings.Fields(*theirsArgs)
	if c.short {
		c.runs, c.duration, c.warmup = 1, time.Second, 200*time.Millisecond
	}
	selected, err := regexp.Compile(*pattern)
	if err != nil {
		return c, fmt.Errorf("compare: -run: %w", err)
	}
	var names []string
	known := scenarios
	switch {
	case *clustered && c.secure:
		return c, errors.New("compare: -tls is for single members: leave out -cluster")
	case *clustered:
		known = clusterScenarios
	case c.secure:
		known = append(slices.Clone(known), handshakes)
	}
	for _, sc := range known {
		names = append(names, sc.name)
		if c.secure {
			sc.goals = secureGoals[sc.name]
		}
		if selected.MatchString(sc.name) {
			c.scenarios = append(c.scenarios, sc)
		}
	}
	switch {
	case flags.NArg() > 0:
		return c, fmt.Errorf("compare: unexpected argument %q: use flags (see `bench compare -h`)", flags.Arg(0))
	case len(c.scenarios) == 0:
		return c, fmt.Errorf("compare: -run %q matches no scenario: there are %s", *pattern, strings.Join(names, ", "))
	case c.runs < 1 || c.duration <= 0 || c.warmup < 0:
		return c, errors.New("compare: want -runs of at least 1, a positive -duration and a -warmup that is not negative")
	case c.output != "text" && c.output != "markdown" && c.output != "json":
		return c, fmt.Errorf("compare: -o %q: want text, markdown or json", c.output)
	}
	return c, nil
}

func compareHelp(w io.Writer, flags *flag.FlagSet) {
	fmt.Fprint(w, `bench compare starts two servers in turn, run by run, each time on an empty directory and free loopback ports, runs
each scenario on both, and prints the medians and the ratio ours/theirs.

Examples: bench compare -ours bin/etcd -theirs /usr/bin/etcd
          bench compare -short
          bench compare -run 'put|list' -runs 5 -o markdown
          bench compare -tls -run '^(put-1000|get-1000|put-1|v2-polls-5000|handshakes)$'
          bench compare -ours /usr/bin/etcd -ours-args --enable-v2=true      (how far the same server differs from itself)

Scenarios:
`)
	for _, sc := range scenarios {
		fmt.Fprintf(w, "  %-22s %s\n", sc.name, sc.summary)
	}
	fmt.Fprintf(w, "\nWith -tls also:\n  %-22s %s\n\nWith -cluster:\n", handshakes.name, handshakes.summary)
	for _, sc := range clusterScenarios {
		fmt.Fprintf(w, "  %-22s %s\n", sc.name, sc.summary)
	}
	fmt.Fprint(w, "\nFlags:\n")
	flags.SetOutput(w)
	flags.PrintDefaults()
}

// runCompare runs the comparison and prints its table. A scenario that fails on one server is shown
// as failed, and the others continue; the exit code is then 1.
func runCompare(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c, err := parseComparison(args, stdout)
	if err != nil {
		return err
	}
	result, err := newOutcome(c)
	if err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	fmt.Fprint(stderr, result.Setting.text())
	c.runAll(ctx, result, stderr)
	if err := result.write(stdout, c.output); err != nil {
		return fmt.Errorf("print comparison: %w", err)
	}
	switch {
	case ctx.Err() != nil:
		return errors.New("compare: interrupted; above is what was measured until then")
	case result.failed():
		return errors.New("compare: some runs failed")
	}
	return nil
}

// runAll runs every scenario, alternating between the servers, so that changes on the machine
// affect both.
func (c comparison) runAll(ctx context.Context, result *outcome, stderr io.Writer) {
	for _, sc := range c.scenarios {
		rows := result.add(sc)
		for run := range c.runs {
			for _, side := range []struct {
				name    string
				program program
				side    *sideResult
			}{{"theirs", c.theirs, &rows.Theirs}, {"ours", c.ours, &rows.Ours}} {
				title := fmt.Sprintf("%s run %d of %d, %s", sc.name, run+1, c.runs, side.name)
				got, err := c.runOnce(ctx, sc, side.program, newProgress(stderr, title))
				if ctx.Err() != nil {
					return
				}
				side.side.add(got, err)
				fmt.Fprintf(stderr, "%s: %s\n", title, sampleLine(sc, got, err))
			}
		}
	}
}

// runOnce runs a scenario on a server started for it.
func (c comparison) runOnce(ctx context.Context, sc scenario, p program, bar *progress) (sample, error) {
	// Flush what earlier runs wrote, so that it does not compete with this one's fsyncs.
	syscall.Sync()
	t := &trial{bar: bar, scale: scale{divisor: 1}, duration: c.duration, warmup: c.warmup}
	if sc.members > 0 {
		members, err := startCluster(ctx, p, c.dir)
		if err != nil {
			return nil, err
		}
		defer members.remove()
		t.server, t.cluster = members[0], members
	} else {
		s, err := startServer(ctx, p, c.dir, c.secure)
		if err != nil {
			return nil, err
		}
		defer s.remove()
		t.server = s
	}
	if c.short {
		t.scale.divisor = 100
	}
	return sc.run(ctx, t)
}

func sampleLine(sc scenario, got sample, err error) string {
	if err != nil {
		return "failed: " + err.Error()
	}
	var parts []string
	for _, m := range sc.metrics {
		parts = append(parts, m.name+" "+m.format(got[m.name]))
	}
	return strings.Join(parts, ", ")
}

// requireDisk returns an error when dir is in memory, where an fsync costs nothing and figures of
// writes are meaningless.
func requireDisk(dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("-dir %s: %w", dir, err)
	}
	if fs.Type == unix.TMPFS_MAGIC || fs.Type == unix.RAMFS_MAGIC {
		return fmt.Errorf("-dir %s is in memory, where an fsync costs nothing: name a directory on a disk", dir)
	}
	return nil
}

// fsyncMedian measures how long dir's disk takes to make 4 KiB durable: the lower bound of one
// client's put.
func fsyncMedian(dir string) (time.Duration, error) {
	f, err := os.CreateTemp(dir, "bench-fsync-")
	if err != nil {
		return 0, fmt.Errorf("measure fsync: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, 4096)
	var times []float64
	for range 101 {
		begin := time.Now()
		if _, err := f.Write(block); err != nil {
			return 0, fmt.Errorf("measure fsync: %w", err)
		}
		if err := f.Sync(); err != nil {
			return 0, fmt.Errorf("measure fsync: %w", err)
		}
		times = append(times, float64(time.Since(begin)))
	}
	return time.Duration(median(times)), nil
}
