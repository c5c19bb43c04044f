package main

import (
	"log/slog"
	"net/http"
	"sync/atomic"

	"cairn/internal/config"
	"cairn/internal/datadir"
	"cairn/internal/logging"
	"cairn/internal/member"
	"cairn/internal/metrics"
	"cairn/internal/peer"
)

// transport is the peer port: the connections to the other members, and the other paths of the
// port.
type transport struct {
	*peer.Transport
	cfg     *config.Config
	log     *slog.Logger
	id      *datadir.Identity
	meters  *metrics.Metrics
	others  atomic.Pointer[http.Handler] // nil until the member has started
	secrets *security
}

func newTransport(cfg *config.Config, log *slog.Logger, id *datadir.Identity, meters *metrics.Metrics, secrets *security) *transport {
	return &transport{cfg: cfg, log: log, id: id, meters: meters, secrets: secrets}
}

// connect is member.Config.Transport.
func (t *transport) connect(m *member.Member, h peer.Handler) (member.Transport, member.Calls) {
	t.Transport = peer.New(peer.Config{
		MemberID: t.id.MemberID, ClusterID: t.id.ClusterID, Logger: logging.For(t.log, "peer"), Handler: h,
		RoundTrip: t.meters.RoundTrip, TLS: t.secrets.dialPeer, LocalIP: t.cfg.MemberLocalIP(),
		Limits:  peer.Limits{DeadAfter: t.cfg.RaftReadTimeout, WriteTimeout: t.cfg.RaftWriteTimeout},
		Removed: m.WasRemoved, Members: m.Members,
		Others: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if others := t.others.Load(); others != nil {
				(*others).ServeHTTP(w, r)
				return
			}
			http.NotFound(w, r)
		}),
	})
	return t.Transport, t.Transport
}

// serve sets the handler of paths that are not the transport's own.
func (t *transport) serve(others http.Handler) { t.others.Store(&others) }

// metrics returns the counters of the peers.
func (t *transport) metrics() (peers []metrics.PeerState) {
	for _, p := range t.Stats() {
		peers = append(peers, metrics.PeerState{
			ID: p.ID, Active: p.Active, SentBytes: p.SentBytes, ReceivedBytes: p.ReceivedBytes, SendFailures: p.Dropped + p.Failures,
			SnapshotsSent: p.SnapshotsSent, SnapshotsFailed: p.SnapshotsFailed, SnapshotsReceived: p.SnapshotsReceived,
		})
	}
	return peers
}
