// Command etcd runs a member, or a proxy in front of members ("etcd gateway", "etcd grpc-proxy",
// "etcd --proxy"): it reads the options, binds the addresses, opens the data directory, and serves
// until a signal stops it.
//
// It owns the process: signals, exit statuses, the standard error, notifications of the service
// manager. It does not own the member (internal/member) or the handling of requests
// (internal/v3rpc, v2http, ops).
//
// Invariant: a start that fails prints one line with the reason on the standard error and writes
// nothing to the data directory.
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
	"time"

	"golang.org/x/sys/unix"

	"cairn/internal/config"
	"cairn/internal/discovery"
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
	// Capacity two: the second signal must not be lost while the first is handled.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	args := os.Args[1:]
	// every client can read them at /debug/vars
	os.Args = append(os.Args[:1:1], config.MaskArguments(args)...)
	os.Exit(run(context.Background(), args, os.Environ(), streams{os.Stdout, os.Stderr}, signals, hangups))
}

type streams struct{ out, err io.Writer }

// run is the program as a function: it returns the exit status. The first signal shuts down
// gracefully, the second one at once.
func run(ctx context.Context, args, environ []string, std streams, signals, hangups <-chan os.Signal) int {
	if len(args) > 0 && args[0] == "gateway" {
		return runGateway(ctx, args[1:], std, signals)
	}
	if len(args) > 0 && args[0] == "grpc-proxy" {
		return runGRPCProxy(ctx, args[1:], std, signals)
	}
	flags, check := config.CheckCommand(args)
	if check {
		args = flags
	}
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

	if check {
		return checkConfig(cfg, std)
	}
	if cfg.LockMemory {
		if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE); err != nil {
			return fail(std.err, cfg, fmt.Errorf("--memory-mlock: %w: raise the limit of locked memory (ulimit -l, LimitMEMLOCK=), or leave the flag out", err))
		}
	}
	proxying := actAsProxy(cfg)
	var r *reservation
	if !proxying {
		if r, err = reserveListeners(ctx, cfg); err != nil {
			return fail(std.err, cfg, err)
		}
		defer r.Close()
	}
	output, files, err := logging.Open(logging.Outputs{Names: cfg.LogOutputs, Rotation: rotation(cfg.LogRotation)}, std.out, std.err)
	if err != nil {
		return fail(std.err, cfg, fmt.Errorf("--log-outputs: %w", err))
	}
	defer files.Close()
	level := new(slog.LevelVar)
	level.Set(cfg.LogLevel)
	log := slog.New(logging.New(output, cfg.LogFormat == config.LogJSON, level))
	logProgram(logging.For(log, "etcd"), cfg)
	reloads := &reloader{args: args, signals: hangups, level: level, files: files}
	start := func(ctx context.Context) error { return serve(ctx, cfg, log, r, reloads) }
	if !proxying && r.existing == nil && cfg.Discovery.Enabled() {
		discovered, err := r.discover(ctx, cfg, logging.For(log, "discovery"), signals)
		switch {
		case err == nil:
			cfg = discovered
		case errors.Is(err, discovery.ErrFull) && cfg.Discovery.Fallback:
			logging.For(log, "discovery").Warn("the cluster is full: falling back to a proxy", "error", err)
			r.Close() // the proxy binds what it needs
			proxying, cfg.Proxy.Mode = true, config.ProxyOn
		default:
			fmt.Fprintln(std.err, "etcd:", err)
			return exitFailure
		}
	}
	if proxying {
		start = func(ctx context.Context) error { return serveProxy(ctx, cfg, log, reloads) }
	}

	if err := serveUntilSignal(ctx, log, start, signals); err != nil {
		if !slices.Contains(cfg.LogOutputs, "stderr") {
			logging.For(log, "etcd").Error("stopped", "error", err)
		}
		fmt.Fprintln(std.err, "etcd:", err)
		return exitFailure
	}
	return exitOK
}

func rotation(r *config.LogRotation) *logging.Rotation {
	if r == nil {
		return nil
	}
	return &logging.Rotation{
		BytesMax: int64(r.MaxSizeMB) << 20, Age: time.Duration(r.MaxAgeDays) * 24 * time.Hour, Backups: r.MaxBackups,
		LocalTime: r.LocalTime, Compress: r.Compress,
	}
}

// fail prints why the start failed. It prints the warnings before the reason, since a misspelt
// setting may be the cause.
func fail(to io.Writer, cfg *config.Config, err error) int {
	warnings(to, cfg)
	fmt.Fprintln(to, "etcd:", err)
	return exitFailure
}

func warnings(to io.Writer, cfg *config.Config) {
	for _, w := range cfg.Warnings {
		fmt.Fprintf(to, "etcd: warning: %s: %s", w.Setting, w.Message)
		if w.Reason != "" {
			fmt.Fprintf(to, " (%s)", w.Reason)
		}
		fmt.Fprintln(to)
	}
}

var errForced = errors.New("stopped at once by a second signal; nothing acknowledged is lost, and the next start takes a little longer")

// serveUntilSignal serves, and shuts down when a signal arrives. After a second signal it does not
// wait for the shutdown.
func serveUntilSignal(ctx context.Context, log *slog.Logger, start func(context.Context) error, signals <-chan os.Signal) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- start(ctx) }()
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
