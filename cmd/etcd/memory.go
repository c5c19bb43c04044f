package main

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"

	"cairn/internal/budget"
)

// clientPart is the divisor of the memory limit for the clients' budget: a quarter. The rest is for
// the stores' caches and memtables, the log's entries, requests in progress and the collector.
const clientPart = 4

// limitMemory makes the collector keep the process within limit bytes, or within the memory of its
// cgroup or the machine when limit is 0, and returns the budget for clients: nil if no limit is
// known. A limit in the variable GOMEMLIMIT takes precedence.
func limitMemory(limit int64, log *slog.Logger) *budget.Budget {
	if limit == 0 {
		limit = budget.Machine()
	}
	if limit == 0 {
		log.Warn("cannot determine the amount of memory; set --memory-limit")
		return nil
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		// leave room for the collector's delay, and for the program itself
		debug.SetMemoryLimit(limit - limit/5)
	}
	return budget.New(limit / clientPart)
}

// accounted gives each request its own account of the budget: over HTTP/1 connections have none.
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
