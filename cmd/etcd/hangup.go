package main

import (
	"context"
	"log/slog"
	"os"

	"cairn/internal/config"
)

// followHangups reloads certificates and the log level at each SIGHUP, until ctx ends. The log
// level is reset to the configured one.
func followHangups(ctx context.Context, log *slog.Logger, s *security, cfg *config.Config, level *slog.LevelVar, hangups <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
		}
		notifyReloading(log)
		set := cfg.LogLevel
		if again, err := config.Load(os.Args[1:], os.Environ(), os.ReadFile); err == nil {
			set = again.LogLevel // the configuration file may have changed
		}
		level.Set(set)
		if err := s.reload(); err != nil {
			log.Error("cannot reload TLS files; the old ones stay in use", "error", err)
		}
		log.Info("reloaded", "log_level", set.String())
		notifyReady(log)
	}
}
