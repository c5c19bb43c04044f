package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"cairn/internal/config"
	"cairn/internal/logging"
	"cairn/internal/tracing"
)

// traceFlushTimeout is how long a stop waits for the collector to take the last spans.
const traceFlushTimeout = 2 * time.Second

// newTracer returns the tracer of --enable-distributed-tracing, or nil without the flag.
func newTracer(ctx context.Context, cfg *config.Config, log *slog.Logger) (*tracing.Tracer, error) {
	if !cfg.Tracing.Enabled {
		return nil, nil //nolint:nilnil // a nil tracer records nothing
	}
	t := cfg.Tracing
	tracer, err := tracing.New(ctx, tracing.Options{
		Address: t.Address, ServiceName: t.ServiceName, InstanceID: t.InstanceID, SamplesPerMillion: t.SamplesPerMillion,
		Logger: logging.For(log, "tracing"),
	})
	if err != nil {
		return nil, fmt.Errorf("--enable-distributed-tracing: %w", err)
	}
	return tracer, nil
}

func closeTracer(t *tracing.Tracer, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), traceFlushTimeout)
	defer cancel()
	if err := t.Close(ctx); err != nil {
		log.Warn("the last spans are lost", "error", err)
	}
}
