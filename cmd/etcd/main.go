// Command etcd runs a member: it reads the options, claims the addresses and the data directory,
// serves until it is told to stop, and ends.
//
// It owns the process: signals, exit statuses, what goes to the standard error, the service
// manager's notifications. It does not own what a member is (internal/member) or how requests are
// answered (internal/v3rpc, v2http, ops).
//
// Invariant: a start that fails says why in one line on the standard error and has written nothing
// to the data directory.
//
// Concurrency: the main goroutine waits for signals while serve runs in another.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"cairn/internal/config"
	"cairn/internal/logging"
	"cairn/internal/version"
)

// The exit statuses are etcd's.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	// Room for two: the second signal must not be lost while the first is at work.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	os.Exit(run(context.Background(), os.Args[1:], os.Environ(), streams{os.Stdout, os.Stderr}, signals))
}

type streams struct{ out, err io.Writer }

// run is the program as a function: it returns the exit status. The first signal ends it in good
// order, the second at once.
func run(ctx context.Context, args, environ []string, std streams, signals <-chan os.Signal) int {
	cfg, err := config.Load(args, environ, os.ReadFile)
	usage := new(config.UsageError)
	switch {
	case errors.Is(err, config.ErrHelp):
		fmt.Fprint(std.out, config.Help())
		return exitOK
	case errors.Is(err, config.ErrVersion):
		fmt.Fprint(std.out, version.Text())
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintln(std.err, "etcd:", err)
		return exitUsage
	case err != nil:
		fmt.Fprintln(std.err, "etcd:", err)
		return exitFailure
	}

	c, err := stakeClaim(ctx, cfg)
	if err != nil {
		return fail(std.err, cfg, err)
	}
	defer c.Close()
	output, files, err := logging.Open(cfg.LogOutputs, std.out, std.err)
	if err != nil {
		return fail(std.err, cfg, fmt.Errorf("--log-outputs: %w", err))
	}
	defer files.Close()
	level := new(slog.LevelVar)
	level.Set(cfg.LogLevel)
	log := slog.New(logging.New(output, cfg.LogFormat == config.LogJSON, level))
	logProgram(logging.For(log, "etcd"), cfg)

	if err := serveUntilSignal(ctx, cfg, log, level, c, signals); err != nil {
		if !slices.Contains(cfg.LogOutputs, "stderr") {
			logging.For(log, "etcd").Error("stopped", "error", err)
		}
		fmt.Fprintln(std.err, "etcd:", err)
		return exitFailure
	}
	return exitOK
}

// fail says why there is no start. The warnings go before the reason, for a misspelt setting may
// well be it.
func fail(to io.Writer, cfg *config.Config, err error) int {
	for _, w := range cfg.Warnings {
		fmt.Fprintf(to, "etcd: warning: %s: %s", w.Setting, w.Message)
		if w.Reason != "" {
			fmt.Fprintf(to, " (%s)", w.Reason)
		}
		fmt.Fprintln(to)
	}
	fmt.Fprintln(to, "etcd:", err)
	return exitFailure
}

var errForced = errors.New("ended at once by a second signal; nothing acknowledged is lost, and the next start takes a little longer")

// serveUntilSignal serves, and stops serving when a signal comes. After a second signal it does not
// wait for that.
func serveUntilSignal(ctx context.Context, cfg *config.Config, log *slog.Logger, level *slog.LevelVar, c *claim, signals <-chan os.Signal) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- serve(ctx, cfg, log, level, c) }()
	for n := 0; ; n++ {
		select {
		case err := <-served:
			return err
		case s := <-signals:
			if n > 0 {
				return errForced
			}
			logging.For(log, "etcd").Log(ctx, logging.LevelNotice, "shutting down", "signal", s.String())
			stop()
		}
	}
}
