package metrics

import "github.com/prometheus/client_golang/prometheus"

// gauge is a metric that is read from the State. Some have names in …_total and are gauges
// nevertheless, as in etcd.
type gauge struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*State) float64
}

func define(name, help string, value func(*State) float64) gauge {
	return gauge{prometheus.NewDesc(name, help, nil, nil), prometheus.GaugeValue, value}
}

func yes(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

var stateGauges = []gauge{
	define("etcd_server_has_leader", "1 if the member knows a leader.", func(s *State) float64 { return yes(s.HasLeader) }),
	define("etcd_server_is_leader", "1 if the member is the leader.", func(s *State) float64 { return yes(s.IsLeader) }),
	define("etcd_server_is_learner", "1 if the member is a learner.", func(s *State) float64 { return yes(s.IsLearner) }),
	{
		prometheus.NewDesc("etcd_server_leader_changes_seen_total", "Changes of the leader that the member has seen.", nil, nil),
		prometheus.CounterValue,
		func(s *State) float64 { return float64(s.LeaderChanges) },
	},
	define("etcd_server_proposals_committed_total", "Index of the last entry that is committed.", func(s *State) float64 { return float64(s.ProposalsCommitted) }),
	define("etcd_server_proposals_applied_total", "Index of the last entry that is applied.", func(s *State) float64 { return float64(s.ProposalsApplied) }),
	define("etcd_server_proposals_pending", "Proposals that wait to be committed.", func(s *State) float64 { return float64(s.ProposalsPending) }),
	define("etcd_server_quota_backend_bytes", "Size of the store that raises an alarm.", func(s *State) float64 { return float64(s.QuotaBytes) }),
	define("etcd_mvcc_db_total_size_in_bytes", "Size of the state store on disk.", func(s *State) float64 { return float64(s.DBTotalBytes) }),
	define("etcd_mvcc_db_total_size_in_use_in_bytes", "Size of what is live in the state store.", func(s *State) float64 { return float64(s.DBInUseBytes) }),
	define("etcd_debugging_mvcc_db_total_size_in_bytes", "As etcd_mvcc_db_total_size_in_bytes.", func(s *State) float64 { return float64(s.DBTotalBytes) }),
	define("etcd_disk_wal_write_bytes_total", "Bytes that the raft log has written to disk.", func(s *State) float64 { return float64(s.LogBytesWritten) }),
	define("etcd_debugging_auth_revision", "Revision of users and roles.", func(s *State) float64 { return float64(s.AuthRevision) }),
	define("etcd_debugging_mvcc_watcher_total", "Watchers.", func(s *State) float64 { return float64(s.Watchers) }),
	define("etcd_debugging_mvcc_watch_stream_total", "Streams that watchers are on.", func(s *State) float64 { return float64(s.WatchStreams) }),
	define("etcd_debugging_mvcc_slow_watcher_total", "Watchers that read from history.", func(s *State) float64 { return float64(s.WatchersBehind) }),
	define("etcd_debugging_mvcc_pending_events_total", "Events that watchers have not been sent.", func(s *State) float64 { return float64(s.EventsPending) }),
	define("etcd_disk_defrag_inflight", "Always 0: the store needs no defragmentation.", func(*State) float64 { return 0 }),
	define("etcd_debugging_mvcc_current_revision", "Current revision of the store.", func(s *State) float64 { return float64(s.CurrentRevision) }),
	define("etcd_debugging_mvcc_compact_revision", "Revision up to which history is compacted.", func(s *State) float64 { return float64(s.CompactRevision) }),
}

var (
	keysDesc           = prometheus.NewDesc("etcd_debugging_mvcc_keys_total", "Live keys.", nil, nil)
	alarmsDesc         = prometheus.NewDesc("etcd_debugging_server_alarms", "1 for each alarm that is raised.", []string{"server_id", "alarm_type"}, nil)
	clusterVersionDesc = prometheus.NewDesc("etcd_cluster_version", "Version that the cluster has agreed on, as the label.", []string{"cluster_version"}, nil)
)

// stateCollector reads the State once per scrape, so that its numbers are consistent.
type stateCollector Metrics

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(to chan<- *prometheus.Desc) {
	for _, g := range stateGauges {
		to <- g.desc
	}
	to <- keysDesc
	to <- clusterVersionDesc
	to <- alarmsDesc
	for _, m := range peerMetrics {
		to <- m.desc
	}
	to <- activePeersDesc
	to <- knownPeersDesc
	describeV2(to)
}

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(to chan<- prometheus.Metric) {
	var s State
	if ask := c.state.Load(); ask != nil {
		s = (*ask)()
	}
	for _, g := range stateGauges {
		to <- prometheus.MustNewConstMetric(g.desc, g.kind, g.value(&s))
	}
	if s.Keys >= 0 {
		to <- prometheus.MustNewConstMetric(keysDesc, prometheus.GaugeValue, float64(s.Keys))
	}
	for _, a := range s.Alarms {
		to <- prometheus.MustNewConstMetric(alarmsDesc, prometheus.GaugeValue, 1, hexadecimal(a.Member), a.Kind)
	}
	c.collectPeers(s.Peers, to)
	s.V2.collect(to)
	if s.ClusterVersion != "" {
		to <- prometheus.MustNewConstMetric(clusterVersionDesc, prometheus.GaugeValue, 1, s.ClusterVersion)
	}
}
