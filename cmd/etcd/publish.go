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

// publication publishes this member's name and client URLs to the cluster. Most clients request the
// list of members first: before the publication, they would get the URLs of an earlier start, or
// none.
type publication struct {
	name       string
	clientURLs []string
	done       chan struct{} // closed when it is complete
	failed     chan error    // has the error, at most one
}

func newPublication(cfg *config.Config) *publication {
	return &publication{
		name: cfg.Name, clientURLs: cfg.AdvertiseClientURLs.Strings(),
		done: make(chan struct{}), failed: make(chan error, 1),
	}
}

// needless reports whether clients may be served at once, since the publication of an earlier start
// is still correct. Then a member without a leader serves serializable requests.
func (p *publication) needless(m *member.Member) bool { return m.Published(p.name, p.clientURLs) }

// run publishes as soon as the member is ready, and returns then.
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
