package main

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"

	"cairn/internal/budget"
)

// clientPart is which part of the memory limit clients may take: a quarter. The rest is for the
// stores' caches and memtables, the log's entries, requests under way and the collector.
const clientPart = 4

// limitMemory makes the collector keep the process within limit bytes, or within what its cgroup or
// the machine has when limit is 0, and returns the budget for what clients make it hold: nil if no
// limit is known. A limit in the variable GOMEMLIMIT stays.
func limitMemory(limit int64, log *slog.Logger) *budget.Budget {
	if limit == 0 {
		limit = budget.Machine()
	}
	if limit == 0 {
		log.Warn("cannot find out how much memory there is; set --memory-limit")
		return nil
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		// the collector lags behind, and does not count the program itself
		debug.SetMemoryLimit(limit - limit/5)
	}
	return budget.New(limit / clientPart)
}

// accounted gives each request an account of its own: over HTTP/1 connections have none.
func accounted(b *budget.Budget, next http.Handler) http.Handler {
	if b == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 1 {
			account := b.Open()
			defer account.Close()
			r = r.WithContext(context.WithValue(r.Context(), budget.Key{}, account))
		}
		next.ServeHTTP(w, r)
	})
}
