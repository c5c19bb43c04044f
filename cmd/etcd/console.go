package main

import (
	"net/http"

	"cairn/internal/config"
	"cairn/internal/console"
	"cairn/internal/datadir"
	"cairn/internal/member"
	"cairn/internal/metrics"
)

// newConsole returns the web console, or nil without --enable-console.
func newConsole(cfg *config.Config, m *member.Member, id *datadir.Identity, meters *metrics.Metrics) *console.Console {
	if !cfg.EnableConsole {
		return nil
	}
	return console.New(console.Options{
		Member: console.Member{Store: m, Users: m, Cluster: m, Space: m}, Metrics: meters, ClusterID: id.ClusterID, ReadOnly: cfg.ConsoleReadOnly, V2: cfg.EnableV2,
		CommonNames: cfg.ClientTLS.RequireClientCert, Hosts: cfg.HostWhitelist,
	})
}

// withConsole returns a handler that serves the console's paths, and passes the others to next with
// the console's sessions.
func (c *clients) withConsole(next http.Handler) http.Handler {
	if c.console == nil {
		return next
	}
	wrapped, gated := c.console.Wrap(next), c.gate.http(c.console)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if console.Serves(r.URL.Path) {
			gated.ServeHTTP(w, r)
			return
		}
		wrapped.ServeHTTP(w, r)
	})
}
