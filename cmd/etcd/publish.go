package main

import (
	"context"
	"fmt"
	"log/slog"

	"cairn/internal/config"
	"cairn/internal/datadir"
	"cairn/internal/member"
	"cairn/internal/version"
)

// publication is the announcement to the cluster of this member's name and client URLs. Clients
// that ask for the members, which is what most do first, must not be answered before it with what
// an earlier start has announced, or nothing.
type publication struct {
	name       string
	clientURLs []string
	done       chan struct{} // closed when it is made
	failed     chan error    // holds one
}

func newPublication(cfg *config.Config) *publication {
	return &publication{
		name: cfg.Name, clientURLs: cfg.AdvertiseClientURLs.Strings(),
		done: make(chan struct{}), failed: make(chan error, 1),
	}
}

// needless reports whether clients may be served at once, since what an earlier start has announced
// is still true. Then a member that finds no leader serves what it can.
func (p *publication) needless(m *member.Member) bool { return m.Published(p.name, p.clientURLs) }

// run makes the publication as soon as the member is ready. It must be called in a goroutine of its
// own.
func (p *publication) run(ctx context.Context, log *slog.Logger, m *member.Member, id *datadir.Identity) {
	select {
	case <-m.Ready():
	case <-m.Failed():
		return
	case <-ctx.Done():
		return
	}
	if !p.needless(m) {
		if err := m.Publish(ctx, p.name, p.clientURLs); err != nil {
			p.failed <- fmt.Errorf("publish the member's name and client URLs: %w", err)
			return
		}
	}
	log.Info("enabled capabilities for version "+version.Minor, "version", version.Minor)
	log.Info("published", "name", p.name, "client_urls", p.clientURLs, "cluster_id", fmt.Sprintf("%x", id.ClusterID))
	close(p.done)
}
