package metrics

import (
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// mixin lists what the queries of etcd's own monitoring mixin (contrib/mixin: its alerts and its
// dashboard) need: the metric's name, and the labels that they select or group by. For a histogram
// it lists the buckets.
var mixin = []struct {
	name   string
	kind   dto.MetricType
	labels string
}{
	{"etcd_disk_backend_commit_duration_seconds", dto.MetricType_HISTOGRAM, ""},
	{"etcd_disk_wal_fsync_duration_seconds", dto.MetricType_HISTOGRAM, ""},
	{"etcd_mvcc_db_total_size_in_bytes", dto.MetricType_GAUGE, ""},
	{"etcd_mvcc_db_total_size_in_use_in_bytes", dto.MetricType_GAUGE, ""},
	{"etcd_network_client_grpc_received_bytes_total", dto.MetricType_COUNTER, ""},
	{"etcd_network_client_grpc_sent_bytes_total", dto.MetricType_COUNTER, ""},
	{"etcd_network_peer_received_bytes_total", dto.MetricType_COUNTER, "From"},
	{"etcd_network_peer_round_trip_time_seconds", dto.MetricType_HISTOGRAM, "To"},
	{"etcd_network_peer_sent_bytes_total", dto.MetricType_COUNTER, "To"},
	{"etcd_network_peer_sent_failures_total", dto.MetricType_COUNTER, "To"},
	{"etcd_server_has_leader", dto.MetricType_GAUGE, ""},
	{"etcd_server_leader_changes_seen_total", dto.MetricType_COUNTER, ""},
	{"etcd_server_proposals_failed_total", dto.MetricType_COUNTER, ""},
	{"etcd_server_quota_backend_bytes", dto.MetricType_GAUGE, ""},
	{"grpc_server_handled_total", dto.MetricType_COUNTER, "grpc_code grpc_method grpc_service grpc_type"},
	{"grpc_server_handling_seconds", dto.MetricType_HISTOGRAM, "grpc_method grpc_service grpc_type"},
	{"grpc_server_started_total", dto.MetricType_COUNTER, "grpc_method grpc_service grpc_type"},
	{"process_resident_memory_bytes", dto.MetricType_GAUGE, ""},

	// The older dashboard, and popular ones by others.
	{"etcd_cluster_version", dto.MetricType_GAUGE, "cluster_version"},
	{"etcd_debugging_mvcc_db_total_size_in_bytes", dto.MetricType_GAUGE, ""},
	{"etcd_debugging_mvcc_delete_total", dto.MetricType_COUNTER, ""},
	{"etcd_debugging_mvcc_events_total", dto.MetricType_COUNTER, ""},
	{"etcd_debugging_mvcc_keys_total", dto.MetricType_GAUGE, ""},
	{"etcd_debugging_mvcc_pending_events_total", dto.MetricType_GAUGE, ""},
	{"etcd_debugging_mvcc_put_total", dto.MetricType_COUNTER, ""},
	{"etcd_debugging_mvcc_range_total", dto.MetricType_COUNTER, ""},
	{"etcd_debugging_mvcc_slow_watcher_total", dto.MetricType_GAUGE, ""},
	{"etcd_debugging_mvcc_txn_total", dto.MetricType_COUNTER, ""},
	{"etcd_debugging_mvcc_watch_stream_total", dto.MetricType_GAUGE, ""},
	{"etcd_debugging_mvcc_watcher_total", dto.MetricType_GAUGE, ""},
	{"etcd_debugging_server_lease_expired_total", dto.MetricType_COUNTER, ""},
	{"etcd_debugging_lease_granted_total", dto.MetricType_COUNTER, ""},
	{"etcd_debugging_lease_renewed_total", dto.MetricType_COUNTER, ""},
	{"etcd_debugging_lease_revoked_total", dto.MetricType_COUNTER, ""},
	{"etcd_network_active_peers", dto.MetricType_GAUGE, "Local Remote"},
	{"etcd_network_snapshot_receive_success", dto.MetricType_COUNTER, "From"},
	{"etcd_network_snapshot_send_failures", dto.MetricType_COUNTER, "To"},
	{"etcd_network_snapshot_send_success", dto.MetricType_COUNTER, "To"},
	{"etcd_server_is_leader", dto.MetricType_GAUGE, ""},
	{"etcd_server_proposals_applied_total", dto.MetricType_GAUGE, ""},
	{"etcd_server_proposals_committed_total", dto.MetricType_GAUGE, ""},
	{"etcd_server_proposals_pending", dto.MetricType_GAUGE, ""},
	{"grpc_server_msg_received_total", dto.MetricType_COUNTER, "grpc_method grpc_service grpc_type"},
	{"grpc_server_msg_sent_total", dto.MetricType_COUNTER, "grpc_method grpc_service grpc_type"},
	{"os_fd_limit", dto.MetricType_GAUGE, ""},
	{"os_fd_used", dto.MetricType_GAUGE, ""},
	{"process_cpu_seconds_total", dto.MetricType_COUNTER, ""},
	{"process_max_fds", dto.MetricType_GAUGE, ""},
	{"process_open_fds", dto.MetricType_GAUGE, ""},
	{"process_start_time_seconds", dto.MetricType_GAUGE, ""},
}

func TestMixin(t *testing.T) {
	m := New(0xa)
	m.MeasureCalls()
	m.AddService(&grpc.ServiceDesc{
		ServiceName: "etcdserverpb.Watch",
		Methods:     []grpc.MethodDesc{{MethodName: "One"}},
		Streams:     []grpc.StreamDesc{{StreamName: "Watch", ClientStreams: true, ServerStreams: true}},
	})
	m.SetState(func() State {
		return State{ClusterVersion: "3.7", Peers: []PeerState{{ID: 0xb, Active: true, SentBytes: 3, ReceivedBytes: 4, SendFailures: 5}}}
	})
	m.RoundTrip(0xb, 300*time.Microsecond)
	m.Puts.Add(7)
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	served := map[string]*dto.MetricFamily{}
	for _, f := range families {
		served[f.GetName()] = f
	}
	for _, want := range mixin {
		f := served[want.name]
		if f == nil {
			t.Errorf("%s is not served", want.name)
			continue
		}
		var labels []string
		for _, l := range f.Metric[0].GetLabel() { // in the order of their names
			labels = append(labels, l.GetName())
		}
		if got := strings.Join(labels, " "); f.GetType() != want.kind || got != want.labels {
			t.Errorf("%s is a %v with the labels %q, want a %v with %q", want.name, f.GetType(), got, want.kind, want.labels)
		}
	}
	text, _ := scrape(t, m)
	for _, want := range []string{
		`etcd_network_peer_sent_bytes_total{To="b"} 3`, `etcd_network_peer_received_bytes_total{From="b"} 4`,
		`etcd_network_peer_sent_failures_total{To="b"} 5`, `etcd_network_active_peers{Local="a",Remote="b"} 1`,
		`etcd_network_peer_round_trip_time_seconds_bucket{To="b",le="0.0002"} 0`, `etcd_network_peer_round_trip_time_seconds_bucket{To="b",le="0.0004"} 1`,
		`grpc_server_started_total{grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream"} 0`,
		`etcd_mvcc_put_total 7`, `etcd_debugging_mvcc_put_total 7`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("there is no %s", want)
		}
	}
}

// BenchmarkCount measures the cost of counting a unary call, without and with its duration.
func BenchmarkCount(b *testing.B) {
	for _, extensive := range []bool{false, true} {
		name := map[bool]string{false: "basic", true: "extensive"}[extensive]
		b.Run(name, func(b *testing.B) {
			m := New(1)
			if extensive {
				m.MeasureCalls()
			}
			m.AddService(&grpc.ServiceDesc{ServiceName: "s", Methods: []grpc.MethodDesc{{MethodName: "m"}}})
			c := m.Method("/s/m")
			b.ReportAllocs()
			for b.Loop() {
				c.Started.Inc()
				c.Received.Inc()
				var began time.Time
				if c.Seconds != nil {
					began = time.Now()
				}
				if c.Seconds != nil {
					c.Seconds.Observe(time.Since(began).Seconds())
				}
				c.Handled(codes.OK).Inc()
				c.Sent.Inc()
				m.ClientReceivedBytes.Add(100)
				m.ClientSentBytes.Add(100)
			}
		})
	}
}
