package main

import (
	"context"
	"log/slog"
	"os"
	"sync"

	"cairn/internal/config"
	"cairn/internal/logging"
)

// reloader reloads certificates and the log level, and opens the log files again, at each SIGHUP.
// It also notifies the service manager that the process is ready, since a reload ends with that
// notification, too.
type reloader struct {
	args    []string // the command line, which names the configuration file
	signals <-chan os.Signal
	level   *slog.LevelVar
	files   *logging.Files

	mu    sync.Mutex
	ready bool // the service manager has been notified
}

// notifyReady notifies the service manager that the process is ready.
func (r *reloader) notifyReady(log *slog.Logger) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ready = true
	notifyReady(log)
}

// run reloads at each signal until ctx ends.
func (r *reloader) run(ctx context.Context, log *slog.Logger, s *security, cfg *config.Config) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.signals:
			r.reload(log, s, cfg)
		}
	}
}

// reload resets the log level to the configured one, which may have changed in the configuration
// file. A setting that cannot be reloaded stays in use.
func (r *reloader) reload(log *slog.Logger, s *security, cfg *config.Config) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ready { // before that, the notification at the end would be wrong
		notifyReloading(log)
		defer notifyReady(log)
	}
	if err := r.files.Reopen(); err != nil {
		log.Error("cannot open the log files again; the old ones stay in use", "error", err)
	}
	level := cfg.LogLevel
	if again, err := config.Load(r.args, os.Environ(), os.ReadFile); err != nil {
		log.Error("cannot read the log level again", "error", err)
	} else {
		level = again.LogLevel
	}
	r.level.Set(level)
	if err := s.reload(); err != nil {
		log.Error("cannot reload TLS files; the old ones stay in use", "error", err)
	}
	log.Info("reloaded", "log_level", level.String())
}
