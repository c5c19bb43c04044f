package metrics

import "github.com/prometheus/client_golang/prometheus"

// zeros are metrics of etcd that have no meaning here, or that are not measured:
// docs/compatibility.md has the reason for each. They are served as 0, since dashboards and alerts
// that combine them with others break if a metric is missing.
var zeros = []struct {
	name string
	kind prometheus.ValueType // untyped: a histogram
}{
	{"etcd_debugging_disk_backend_commit_rebalance_duration_seconds", prometheus.UntypedValue},
	{"etcd_debugging_disk_backend_commit_spill_duration_seconds", prometheus.UntypedValue},
	{"etcd_debugging_disk_backend_commit_write_duration_seconds", prometheus.UntypedValue},
	{"etcd_debugging_mvcc_db_compaction_keys_total", prometheus.CounterValue},
	{"etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds", prometheus.UntypedValue},
	{"etcd_debugging_snap_save_marshalling_duration_seconds", prometheus.UntypedValue},
	{"etcd_debugging_snap_save_total_duration_seconds", prometheus.UntypedValue},
	{"etcd_disk_backend_defrag_duration_seconds", prometheus.UntypedValue},
	{"etcd_grpc_proxy_cache_hits_total", prometheus.GaugeValue},
	{"etcd_grpc_proxy_cache_keys_total", prometheus.GaugeValue},
	{"etcd_grpc_proxy_cache_misses_total", prometheus.GaugeValue},
	{"etcd_grpc_proxy_events_coalescing_total", prometheus.CounterValue},
	{"etcd_grpc_proxy_watchers_coalescing_total", prometheus.GaugeValue},
	{"etcd_mvcc_db_open_read_transactions", prometheus.GaugeValue},
	{"etcd_snap_db_fsync_duration_seconds", prometheus.UntypedValue},
	{"etcd_snap_fsync_duration_seconds", prometheus.UntypedValue},
}

func registerZeros(registry *prometheus.Registry) {
	const help = "Always 0, see docs/compatibility.md."
	for _, z := range zeros {
		switch z.kind {
		case prometheus.CounterValue:
			registry.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: z.name, Help: help}))
		case prometheus.GaugeValue:
			registry.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: z.name, Help: help}))
		default:
			registry.MustRegister(prometheus.NewHistogram(prometheus.HistogramOpts{Name: z.name, Help: help, Buckets: latencyBuckets}))
		}
	}
}
