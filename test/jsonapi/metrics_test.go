package jsonapi

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"cairn/test/harness"
)

// metrics returns the values of all metrics of a server, by the text before the value.
func metrics(t *testing.T, server *harness.Server) map[string]float64 {
	t.Helper()
	_, text := do(t, http.MethodGet, server.URL()+"/metrics", "")
	values := map[string]float64{}
	for _, m := range regexp.MustCompile(`(?m)^([^# ].*) (\S+)$`).FindAllStringSubmatch(text, -1) {
		v, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			t.Fatalf("%s: %v", m[0], err)
		}
		values[m[1]] = v
	}
	return values
}

// awaitMetrics scrapes until check finds no faults, and fails the test with those that remain: a
// response may arrive before it has been counted.
func awaitMetrics(t *testing.T, server *harness.Server, check func(values map[string]float64) (faults []string)) map[string]float64 {
	t.Helper()
	values := metrics(t, server)
	faults := check(values)
	for end := time.Now().Add(30 * time.Second); len(faults) > 0 && time.Now().Before(end); faults = check(values) {
		time.Sleep(50 * time.Millisecond)
		values = metrics(t, server)
	}
	for _, f := range faults {
		t.Error(f)
	}
	return values
}

// TestMetrics makes some requests, and checks the increments of metrics.
func TestMetrics(t *testing.T) {
	server := harness.Start(t, "--metrics", "extensive")
	before := metrics(t, server)
	call := func(path, body string) { do(t, http.MethodPost, server.URL()+"/v3/"+path, body) }
	for i := range 5 {
		call("kv/put", fmt.Sprintf(`{"key":"%s","value":"AAAA"}`, b64(fmt.Sprint("key", i))))
	}
	call("kv/deleterange", `{"key":"AA==","range_end":"AA==","prev_kv":true}`)
	call("kv/put", `{}`)
	call("kv/range", `{"key":"AA=="}`)
	call("kv/txn", `{"success":[{"request_put":{"key":"AA=="}}]}`)
	call("lease/grant", `{"ID":5,"TTL":"100"}`)
	call("lease/keepalive", `{"ID":5}`)
	call("lease/revoke", `{"ID":5}`)
	const unary = `grpc_service="etcdserverpb.KV",grpc_type="unary"`
	more := map[string]float64{
		"etcd_mvcc_put_total":                                                       6,
		"etcd_mvcc_delete_total":                                                    5,
		"etcd_mvcc_range_total":                                                     1,
		"etcd_mvcc_txn_total":                                                       1,
		"etcd_debugging_mvcc_events_total":                                          11,
		"etcd_debugging_lease_granted_total":                                        1,
		"etcd_debugging_lease_renewed_total":                                        1,
		"etcd_debugging_lease_revoked_total":                                        1,
		"etcd_debugging_server_lease_expired_total":                                 0,
		"etcd_server_proposals_failed_total":                                        0,
		`grpc_server_started_total{grpc_method="Put",` + unary + `}`:                6,
		`grpc_server_handled_total{grpc_code="OK",grpc_method="Put",` + unary + `}`: 5,
		`grpc_server_handled_total{grpc_code="InvalidArgument",grpc_method="Put",` + unary + `}`:                   1,
		`grpc_server_handling_seconds_count{grpc_method="Put",` + unary + `}`:                                      6,
		`grpc_server_handling_seconds_bucket{grpc_method="Put",` + unary + `,le="+Inf"}`:                           6,
		`grpc_server_msg_sent_total{grpc_method="Put",` + unary + `}`:                                              5,
		`grpc_server_msg_received_total{grpc_method="Put",` + unary + `}`:                                          6,
		`grpc_server_started_total{grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream"}`: 0,
	}
	after := awaitMetrics(t, server, func(after map[string]float64) (faults []string) {
		for name, want := range more {
			if harness.Reference(t) != "" && strings.HasPrefix(name, "etcd_") {
				// etcd counts operations in transactions and its own writes differently
				continue
			}
			if _, there := after[name]; !there || after[name]-before[name] != want {
				faults = append(faults, fmt.Sprintf("%s went from %v to %v, want %v more", name, before[name], after[name], want))
			}
		}
		return faults
	})
	for name, want := range map[string]float64{
		"etcd_server_has_leader": 1, "etcd_server_is_leader": 1, `etcd_cluster_version{cluster_version="3.7"}`: 1,
	} {
		if harness.Reference(t) == "" && after[name] != want {
			t.Errorf("%s is %v, want %v", name, after[name], want)
		}
	}
	// Alerts compare the store's size with its quota, which without a quota is the disk's size.
	if size, quota := after["etcd_mvcc_db_total_size_in_bytes"], after["etcd_server_quota_backend_bytes"]; size <= 0 || quota < size {
		t.Errorf("the store has %v of %v bytes", size, quota)
	}
}

// TestProbes probes a healthy server.
func TestProbes(t *testing.T) {
	if harness.Reference(t) != "" {
		t.Skip("etcd 3.4 has none of them")
	}
	metricsURL := "http://127.0.0.1:" + harness.FreePort(t)
	server := harness.Start(t, "--listen-metrics-urls", metricsURL)
	for base, health := range map[string]string{server.URL(): `{"health": "true"}`, metricsURL: `{"health":"true","reason":""}`} {
		for path, want := range map[string]string{
			"/livez":                      "ok\n",
			"/readyz?verbose":             "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\nok\n",
			"/readyz/linearizable_read":   "ok\n",
			"/health":                     health,
			"/health?serializable=true":   `{"health":"true","reason":""}`,
			"/health?exclude=NOSPACE":     `{"health":"true","reason":""}`,
			"/livez?exclude=nothing":      "ok\n",
			"/livez/serializable_read":    "ok\n",
			"/readyz/data_corruption":     "ok\n",
			"/readyz/non_learner?verbose": "[+]non_learner ok\nok\n",
		} {
			if resp, text := do(t, http.MethodGet, base+path, ""); resp.StatusCode != http.StatusOK || text != want {
				t.Errorf("%s: %d %q", path, resp.StatusCode, text)
			}
		}
	}
	// A probe can select the alarms that it checks.
	do(t, http.MethodPost, server.URL()+"/v3/maintenance/alarm", `{"action":"ACTIVATE","memberID":"`+leaderID(t, server)+`","alarm":"CORRUPT"}`)
	for path, want := range map[string]int{
		"/health": 503, "/health?exclude=CORRUPT": 200, "/livez": 200, "/readyz": 503, "/readyz?exclude=data_corruption": 200, "/readyz/data_corruption": 503,
	} {
		if resp, text := do(t, http.MethodGet, server.URL()+path, ""); resp.StatusCode != want {
			t.Errorf("with an alarm %s: %d %q", path, resp.StatusCode, text)
		}
	}
}
