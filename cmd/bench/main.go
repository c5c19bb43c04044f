// Command bench is a load generator for any etcd endpoint, v3 or v2, a comparison of two servers,
// and two long runs that watch the latency of puts beside other work.
//
// It owns the workloads, the measuring and the report. It does not own the servers: `bench
// WORKLOAD` drives one that runs already; `bench compare`, `bench large` and `bench many` start the
// given ones as child processes, each with its own directory and ports. It imports nothing of
// cairn, so that it measures cairn and another etcd in the same way.
//
// Invariants:
//   - A request is counted once: as successful, with its latency, or as an error, without. At the
//     end, requests in flight are waited for, so that a stall at the end is visible.
//   - Throughput, latency and the server's CPU are taken over the same window, which begins and
//     ends with no request in flight.
//   - A wrong response (a missing key, a wrong count) is an error: a server is not faster by doing
//     less.
//
// Concurrency: one goroutine per client, each with its own request function; they share the
// connections, the ticket counter and the recorder, which locks.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// errMeasuredErrors makes the exit code 1 after a report with failed requests.
var errMeasuredErrors = errors.New("some requests ended in errors")

func main() {
	// The client's heap is a few MiB, so that by default a collection would start every few
	// thousand requests and take CPU from the server on the same machine.
	debug.SetGCPercent(800)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the run stops and reports; a second one ends the process at once.
	context.AfterFunc(ctx, stop)
	err := dispatch(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	default:
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// dispatch runs the workload or the comparison that the first argument names.
func dispatch(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		usage(stderr)
		return errors.New("no workload given")
	}
	name, args := args[0], args[1:]
	switch name {
	case "help", "-h", "-help", "--help":
		usage(stdout)
		return nil
	case "compare":
		return runCompare(ctx, args, stdout, stderr)
	case "large":
		return runLarge(ctx, args, stdout, stderr)
	case "many":
		return runMany(ctx, args, stdout, stderr)
	}
	kind, ok := findWorkload(name)
	if !ok {
		return fmt.Errorf("unknown workload %q: want one of %s, compare, large or many (see `bench help`)", name, workloadNames())
	}
	return runWorkload(ctx, kind, args, stdout, stderr)
}

func usage(w io.Writer) {
	fmt.Fprint(w, "bench drives an etcd endpoint and reports throughput, latency and the server's CPU and memory.\n\n")
	fmt.Fprint(w, "Usage: bench WORKLOAD [flags]      (bench WORKLOAD -h lists the flags)\n")
	fmt.Fprint(w, "       bench compare|large|many [flags]\n\nWorkloads:\n")
	for _, kind := range workloadKinds {
		fmt.Fprintf(w, "  %-14s  %s\n                  %s\n", kind.name, kind.summary, kind.example)
	}
	fmt.Fprint(w, `
Comparison:
  compare         start two servers in turn on fresh directories, run each scenario on both, print both and the ratio
                  bench compare -ours bin/etcd -theirs /usr/bin/etcd -runs 3

Long runs, which start a server, and print a table and draw a plot of the puts' latency over time:
  large           many keys and a long history: fill, back up, kill, restart, read, compact, add a member
                  bench large -keys 1000000 -history 2GiB -svg large.svg
  many            many leases, watches and connections
                  bench many -leases 100000 -watches 100000 -svg many.svg
`)
}

// runWorkload measures one workload against a running server and prints the report.
func runWorkload(ctx context.Context, kind workloadKind, args []string, stdout, stderr io.Writer) error {
	s, err := parseSettings(kind, args, stdout)
	if err != nil {
		return err
	}
	bar := newProgress(stderr, kind.name)
	if s.ticks {
		bar = newTicks(stdout, kind, s)
	}
	var printed error
	result, err := measureThen(ctx, kind, s, bar, func(r *report) {
		printed = r.write(stdout, s.output)
		if s.hold && printed == nil {
			<-ctx.Done()
		}
	})
	if err != nil {
		return fmt.Errorf("%s: %w", kind.name, err)
	}
	if printed != nil {
		return fmt.Errorf("print report: %w", printed)
	}
	if result.Errors.Total > 0 {
		return errMeasuredErrors
	}
	return nil
}
