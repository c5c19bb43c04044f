package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"cairn/internal/config"
)

// checkConfig is `etcd config check`: it prints the effective configuration, after the warnings,
// without starting anything. It reads the certificates, since they are part of it.
func checkConfig(cfg *config.Config, std streams) int {
	var ofFiles strings.Builder
	secrets, err := loadSecurity(cfg, slog.New(warningPrinter{&ofFiles}))
	if err != nil {
		return fail(std.err, cfg, err)
	}
	if _, err := readJWT(cfg.AuthToken); err != nil {
		return fail(std.err, cfg, err)
	}
	for _, source := range secrets.sources() {
		source.WarnOfExpiry()
	}
	warnings(std.err, cfg)
	fmt.Fprint(std.err, ofFiles.String())
	fmt.Fprint(std.out, cfg.EffectiveText())
	return exitOK
}

// warningPrinter prints what would be logged as a warning or an error, in the form of the warnings
// about settings.
type warningPrinter struct{ to io.Writer }

// Enabled implements slog.Handler.
func (warningPrinter) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelWarn
}

// Handle implements slog.Handler.
func (p warningPrinter) Handle(_ context.Context, r slog.Record) error {
	var texts []string
	r.Attrs(func(a slog.Attr) bool { texts = append(texts, a.String()); return true })
	_, err := fmt.Fprintf(p.to, "etcd: warning: %s (%s)\n", r.Message, strings.Join(texts, " "))
	return err
}

// WithAttrs implements slog.Handler. A logger's own attribute is the component, which says nothing
// here.
func (p warningPrinter) WithAttrs([]slog.Attr) slog.Handler { return p }

// WithGroup implements slog.Handler; no logger here uses groups.
func (p warningPrinter) WithGroup(string) slog.Handler { return p }
