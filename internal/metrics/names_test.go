package metrics

import (
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
)

// TestEtcdsMetrics has every metric of etcd served with its type, or named as missing in
// docs/compatibility.md. The names are those that Debian's etcd 3.4.23 serves when it has just
// begun, and what came later or is served only by clusters.
func TestEtcdsMetrics(t *testing.T) {
	m := New(0xa)
	m.AddService(&grpc.ServiceDesc{ServiceName: "etcdserverpb.KV", Methods: []grpc.MethodDesc{{MethodName: "Put"}}})
	m.AddHealthcheck("readyz", "ping")
	m.Healthcheck("readyz", "ping", true)
	m.RoundTrip(0xb, time.Millisecond)
	m.LearnerPromoteFailed("unhealthy cluster")
	m.ReceivingSnapshot(0xb)(time.Second, true)
	m.ReceivingSnapshot(0xb)(time.Second, false)
	m.SetState(func() State {
		return State{ClusterVersion: "3.7", Peers: []PeerState{{ID: 0xb}}, Alarms: []Alarm{{Member: 0xc, Kind: "NOSPACE"}}}
	})
	text, _ := scrape(t, m) // also what counts scrapes
	_, missing, _ := strings.Cut(read(t, "../../docs/compatibility.md"), "\n### Metrics of etcd that are missing\n")
	missing, _, _ = strings.Cut(missing, "\n#")
	for _, file := range []string{"testdata/etcd-3.4.23.txt", "testdata/etcd-3.5.txt"} {
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
	for _, want := range []string{
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
