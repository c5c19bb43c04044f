package metrics

import (
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
)

// TestEtcdsMetrics expects every metric of etcd to be served with its type, or listed as missing in
// docs/compatibility.md. The names are those that Debian's etcd 3.4.23 serves right after its
// start, and those that later versions added or that only clusters or requests of v2 serve.
func TestEtcdsMetrics(t *testing.T) {
	m := New(0xa)
	m.AddService(&grpc.ServiceDesc{ServiceName: "etcdserverpb.KV", Methods: []grpc.MethodDesc{{MethodName: "Put"}}})
	m.AddHealthcheck("readyz", "ping")
	m.Healthcheck("readyz", "ping", true)
	m.RoundTrip(0xb, time.Millisecond)
	m.LearnerPromoteFailed("unhealthy cluster")
	m.ReceivingSnapshot(0xb)(time.Second, true)
	m.ReceivingSnapshot(0xb)(time.Second, false)
	m.V2.Failed("GET", 404)
	m.SetState(func() State {
		return State{ClusterVersion: "3.7", Peers: []PeerState{{ID: 0xb}}, Alarms: []Alarm{{Member: 0xc, Kind: "NOSPACE"}}}
	})
	text, _ := scrape(t, m) // including the metrics about scrapes
	_, missing, _ := strings.Cut(read(t, "../../docs/compatibility.md"), "\n### Metrics of etcd that are missing\n")
	missing, _, _ = strings.Cut(missing, "\n#")
	for _, file := range []string{"testdata/etcd-3.4.23.txt", "testdata/etcd-3.5.txt", "testdata/etcd-3.7.txt"} {
		for _, line := range strings.Split(strings.TrimSpace(read(t, file)), "\n") {
			name, kind, _ := strings.Cut(line, " ")
			is, named := strings.Contains(text, "# TYPE "+name+" "), strings.Contains(missing, "\n- `"+name+"`: ")
			switch {
			case is == named:
				t.Errorf("%s: served %t, and missing by docs/compatibility.md %t", name, is, named)
			case is && !strings.Contains(text, "# TYPE "+name+" "+kind+"\n"):
				t.Errorf("%s is no %s", name, kind)
			}
		}
	}
	_, zero, _ := strings.Cut(read(t, "../../docs/compatibility.md"), "\n### Metrics of etcd that are always 0\n")
	zero, _, _ = strings.Cut(zero, "\n#")
	for _, z := range zeros {
		if !strings.Contains(zero, "\n- `"+z.name+"`: ") {
			t.Errorf("%s is always 0, without a reason in docs/compatibility.md", z.name)
		}
	}
	if n := strings.Count(zero, "\n- "); n != len(zeros) {
		t.Errorf("docs/compatibility.md lists %d metrics that are always 0, there are %d", n, len(zeros))
	}
	for _, want := range []string{
		`etcd_server_request_duration_seconds_count{success="true",type="Put"} 0`,
		`etcd_server_range_duration_seconds_count{success="true"} 0`,
		`etcd_server_apply_duration_seconds_count{op="Batch",success="true",version="v3"} 0`,
		`etcd_debugging_server_alarms{alarm_type="NOSPACE",server_id="c"} 1`,
		`etcd_network_known_peers{Local="a",Remote="b"} 1`,
		`etcd_network_snapshot_receive_failures{From="b"} 1`,
		`etcd_network_snapshot_receive_inflights_total{From="b"} 0`,
		`etcd_network_snapshot_receive_total_duration_seconds_count{From="b"} 1`,
		`etcd_snap_db_save_total_duration_seconds_count 1`,
		`etcd_server_learner_promote_failures{Reason="unhealthy cluster"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("there is no %s", want)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
