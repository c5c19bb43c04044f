package metrics

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// PeerState is the traffic with another member since it became one.
type PeerState struct {
	ID     uint64
	Active bool // connected

	SentBytes, ReceivedBytes uint64
	// messages that were lost, and connections that broke
	SendFailures                                      uint64
	SnapshotsSent, SnapshotsFailed, SnapshotsReceived uint64
}

// peerMetric is one of a peer's metrics. Its label is the direction.
type peerMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*PeerState) float64
}

func toPeer(name, help string, value func(*PeerState) float64) peerMetric {
	return peerMetric{prometheus.NewDesc(name, help, []string{"To"}, nil), prometheus.CounterValue, value}
}

func fromPeer(name, help string, value func(*PeerState) float64) peerMetric {
	return peerMetric{prometheus.NewDesc(name, help, []string{"From"}, nil), prometheus.CounterValue, value}
}

var peerMetrics = []peerMetric{
	toPeer("etcd_network_peer_sent_bytes_total", "Bytes sent to a peer.", func(p *PeerState) float64 { return float64(p.SentBytes) }),
	toPeer("etcd_network_peer_sent_failures_total", "Messages to a peer that were lost.", func(p *PeerState) float64 { return float64(p.SendFailures) }),
	toPeer("etcd_network_snapshot_send_success", "Snapshots that a peer has taken.", func(p *PeerState) float64 { return float64(p.SnapshotsSent) }),
	toPeer("etcd_network_snapshot_send_failures", "Snapshots that did not reach a peer.", func(p *PeerState) float64 { return float64(p.SnapshotsFailed) }),
	fromPeer("etcd_network_peer_received_bytes_total", "Bytes received from a peer.", func(p *PeerState) float64 { return float64(p.ReceivedBytes) }),
	fromPeer("etcd_network_snapshot_receive_success", "Snapshots taken from a peer.", func(p *PeerState) float64 { return float64(p.SnapshotsReceived) }),
}

var (
	activePeersDesc = prometheus.NewDesc("etcd_network_active_peers", "1 if the peer is connected.", []string{"Local", "Remote"}, nil)
	knownPeersDesc  = prometheus.NewDesc("etcd_network_known_peers", "1 for each peer.", []string{"Local", "Remote"}, nil)
)

func newRoundTrips(registry *prometheus.Registry) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "etcd_network_peer_round_trip_time_seconds", Help: "Time until a peer answers.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16), // etcd's: 0.1 ms to 3.3 s
	}, []string{"To"})
	registry.MustRegister(v)
	return v
}

// RoundTrip records a round-trip time to a peer. It is called about once a second for each, so the
// label is looked up.
func (m *Metrics) RoundTrip(peer uint64, d time.Duration) {
	m.roundTrips.WithLabelValues(hexadecimal(peer)).Observe(d.Seconds())
}

func hexadecimal(id uint64) string { return strconv.FormatUint(id, 16) }

func (c *stateCollector) collectPeers(peers []PeerState, to chan<- prometheus.Metric) {
	for i := range peers {
		p := &peers[i]
		id := hexadecimal(p.ID)
		for _, m := range peerMetrics {
			to <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(p), id)
		}
		to <- prometheus.MustNewConstMetric(activePeersDesc, prometheus.GaugeValue, yes(p.Active), hexadecimal(c.memberID), id)
		to <- prometheus.MustNewConstMetric(knownPeersDesc, prometheus.GaugeValue, 1, hexadecimal(c.memberID), id)
	}
}
