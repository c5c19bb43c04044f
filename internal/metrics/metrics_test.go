package metrics

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

func scrape(t *testing.T, m *Metrics, header ...string) (string, http.Header) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	if len(header) == 2 {
		r.Header.Set(header[0], header[1])
	}
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, r)
	body, err := io.ReadAll(w.Result().Body)
	if err != nil || w.Code != http.StatusOK {
		t.Fatalf("status %d, %v", w.Code, err)
	}
	return string(body), w.Result().Header
}

// TestNames checks for etcd's names and types, as Debian's etcd 3.4.23 serves them.
func TestNames(t *testing.T) {
	m := New(0x8e9e05c52164694d)
	text, header := scrape(t, m)
	for _, want := range strings.Split(strings.TrimSpace(`
# TYPE etcd_debugging_mvcc_compact_revision gauge
# TYPE etcd_debugging_mvcc_current_revision gauge
# TYPE etcd_debugging_mvcc_keys_total gauge
# TYPE etcd_disk_backend_commit_duration_seconds histogram
# TYPE etcd_disk_wal_fsync_duration_seconds histogram
# TYPE etcd_mvcc_db_total_size_in_bytes gauge
# TYPE etcd_mvcc_db_total_size_in_use_in_bytes gauge
# TYPE etcd_mvcc_delete_total counter
# TYPE etcd_mvcc_put_total counter
# TYPE etcd_mvcc_range_total counter
# TYPE etcd_mvcc_txn_total counter
# TYPE etcd_network_client_grpc_received_bytes_total counter
# TYPE etcd_network_client_grpc_sent_bytes_total counter
# TYPE etcd_server_go_version gauge
# TYPE etcd_server_has_leader gauge
# TYPE etcd_server_health_failures counter
# TYPE etcd_server_health_success counter
# TYPE etcd_server_is_leader gauge
# TYPE etcd_server_is_learner gauge
# TYPE etcd_server_leader_changes_seen_total counter
# TYPE etcd_server_proposals_applied_total gauge
# TYPE etcd_server_proposals_committed_total gauge
# TYPE etcd_server_proposals_failed_total counter
# TYPE etcd_server_proposals_pending gauge
# TYPE etcd_server_quota_backend_bytes gauge
# TYPE etcd_server_read_indexes_failed_total counter
# TYPE etcd_server_slow_apply_total counter
# TYPE etcd_server_slow_read_indexes_total counter
etcd_server_version{server_version="3.7.1"} 1
etcd_server_id{server_id="8e9e05c52164694d"} 1
etcd_disk_wal_fsync_duration_seconds_bucket{le="0.001"} 0
etcd_disk_wal_fsync_duration_seconds_bucket{le="8.192"} 0
etcd_server_has_leader 0
# TYPE process_resident_memory_bytes gauge
# TYPE go_goroutines gauge`), "\n") {
		if !strings.Contains(text, want+"\n") && !strings.Contains(text, want+" ") {
			t.Errorf("there is no %s", want)
		}
	}
	if strings.Contains(text, "etcd_cluster_version") {
		t.Error("there is a cluster version although none is agreed on")
	}
	if got := header.Get("Content-Type"); got != "text/plain; version=0.0.4" {
		t.Errorf("Content-Type %q", got)
	}
	// Apart from names, which are etcd's, Prometheus' own checker must have no complaints.
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if !strings.Contains(p.Text, "_total") && !strings.HasSuffix(p.Metric, "_duration_milliseconds") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func TestOtherFormats(t *testing.T) {
	_, header := scrape(t, New(1), "Accept", "application/openmetrics-text; version=1.0.0")
	if got := header.Get("Content-Type"); !strings.HasPrefix(got, "application/openmetrics-text") && !strings.HasPrefix(got, "text/plain; version=0.0.4") {
		t.Errorf("Content-Type %q", got)
	}
	_, header = scrape(t, New(1), "Accept-Encoding", "gzip")
	if header.Get("Content-Encoding") != "gzip" || header.Get("Content-Type") != "text/plain; version=0.0.4" {
		t.Errorf("headers %v", header)
	}
}

func TestState(t *testing.T) {
	m := New(1)
	calls := 0
	m.SetState(func() State {
		calls++
		return State{
			HasLeader: true, IsLeader: true, LeaderChanges: 2, ProposalsCommitted: 7, ProposalsApplied: 6, ProposalsPending: 1,
			CurrentRevision: 5, CompactRevision: 3, Keys: -1, DBTotalBytes: 1 << 40, DBInUseBytes: 9, QuotaBytes: 8, ClusterVersion: "3.7",
		}
	})
	text, _ := scrape(t, m)
	for _, want := range []string{
		"etcd_server_has_leader 1", "etcd_server_is_leader 1", "etcd_server_is_learner 0", "etcd_server_leader_changes_seen_total 2",
		"etcd_server_proposals_committed_total 7", "etcd_server_proposals_applied_total 6", "etcd_server_proposals_pending 1",
		"etcd_debugging_mvcc_current_revision 5", "etcd_debugging_mvcc_compact_revision 3", "etcd_mvcc_db_total_size_in_bytes 1.099511627776e+12",
		"etcd_mvcc_db_total_size_in_use_in_bytes 9", "etcd_server_quota_backend_bytes 8", `etcd_cluster_version{cluster_version="3.7"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("there is no %s", want)
		}
	}
	if strings.Contains(text, "etcd_debugging_mvcc_keys_total") {
		t.Error("the key count is served without a source")
	}
	if calls != 1 {
		t.Errorf("one scrape read the state %d times", calls)
	}
}

func TestMethods(t *testing.T) {
	m := New(1)
	m.AddService(&grpc.ServiceDesc{
		ServiceName: "etcdserverpb.KV",
		Methods:     []grpc.MethodDesc{{MethodName: "Put"}},
		Streams:     []grpc.StreamDesc{{StreamName: "Watch", ClientStreams: true, ServerStreams: true}, {StreamName: "Snapshot", ServerStreams: true}},
	})
	put := m.Method("/etcdserverpb.KV/Put")
	put.Started.Inc()
	put.Handled(codes.OK).Inc()
	put.Handled(codes.Code(99)).Inc()
	m.Method("/etcdserverpb.KV/Watch").Sent.Add(3)
	if m.Method("/etcdserverpb.KV/None") != nil {
		t.Error("a method that was not added has counters")
	}
	text, _ := scrape(t, m)
	for _, want := range []string{
		`grpc_server_started_total{grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1`,
		`grpc_server_handled_total{grpc_code="OK",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1`,
		`grpc_server_handled_total{grpc_code="Unknown",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1`,
		`grpc_server_handled_total{grpc_code="Unauthenticated",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 0`,
		`grpc_server_msg_sent_total{grpc_method="Watch",grpc_service="etcdserverpb.KV",grpc_type="bidi_stream"} 3`,
		`grpc_server_msg_received_total{grpc_method="Snapshot",grpc_service="etcdserverpb.KV",grpc_type="server_stream"} 0`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("there is no %s", want)
		}
	}
}

func TestTwoMembersInOneProcess(t *testing.T) {
	a, b := New(1), New(2)
	a.Puts.Inc()
	if text, _ := scrape(t, b); !strings.Contains(text, "etcd_mvcc_put_total 0\n") {
		t.Error("members share counters")
	}
}

// TestHotPath shows that counting a request allocates nothing.
func TestHotPath(t *testing.T) {
	m := New(1)
	m.AddService(&grpc.ServiceDesc{ServiceName: "s", Methods: []grpc.MethodDesc{{MethodName: "m"}}})
	if n := testing.AllocsPerRun(100, func() {
		c := m.Method("/s/m")
		c.Started.Inc()
		c.Handled(codes.OK).Inc()
		m.Puts.Inc()
		m.LogFsync.Observe(0.001)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
