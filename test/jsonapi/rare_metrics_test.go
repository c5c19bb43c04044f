package jsonapi

import (
	"fmt"
	"strings"
	"testing"

	"cairn/test/harness"
)

// TestRareMetrics causes rare events and checks their metrics.
func TestRareMetrics(t *testing.T) {
	if harness.Reference(t) != "" {
		t.Skip("etcd's gateway names its version to itself")
	}
	server := harness.Start(t)
	for _, call := range []struct{ path, body string }{
		{"/v3/lease/grant", `{"TTL":"100"}`},
		{"/v3/maintenance/hash", `{}`},
		{"/v3/maintenance/hashkv", `{}`},
		{"/v3/maintenance/snapshot", `{}`},
		{"/v3/auth/role/add", `{"name":"r"}`},
	} {
		if resp, text := do(t, "POST", server.URL()+call.path, call.body); resp.StatusCode != 200 {
			t.Fatalf("%s: %d %s", call.path, resp.StatusCode, text)
		}
	}
	for _, request := range []struct {
		method, path, form string
		status             int
	}{
		{"PUT", "/v2/keys/a", "value=1", 201},
		{"PUT", "/v2/keys/a", "value=2&prevValue=9", 412},
		{"DELETE", "/v2/keys/a", "", 200},
		{"GET", "/v2/keys/a", "", 404},
		{"GET", "/v2/keys/?recursive=true", "", 200},
		{"GET", "/v2/keys/a?wait=true&waitIndex=1", "", 200},
	} {
		if status, text, _ := server.HTTP(request.method, request.path, request.form); status != request.status {
			t.Fatalf("%s %s: %d %s", request.method, request.path, status, text)
		}
	}
	if resp, text := do(t, "POST", server.URL()+"/v3/kv/compaction", `{"revision":"2","physical":true}`); resp.StatusCode != 200 {
		t.Fatalf("compaction: %d %s", resp.StatusCode, text)
	}
	values := map[string]float64{
		`etcd_debugging_lease_ttl_total_bucket{le="64"}`:                                0,
		`etcd_debugging_lease_ttl_total_bucket{le="128"}`:                               1,
		`etcd_mvcc_hash_duration_seconds_count`:                                         1,
		`etcd_mvcc_hash_rev_duration_seconds_count`:                                     1,
		`etcd_disk_backend_snapshot_duration_seconds_count`:                             1,
		`etcd_server_client_requests_total{client_api_version="unknown",type="unary"}`:  5,
		`etcd_server_client_requests_total{client_api_version="unknown",type="stream"}`: 1,
		`promhttp_metric_handler_requests_in_flight`:                                    1,
		`etcd_server_snapshot_apply_in_progress_total`:                                  0,
		`etcd_debugging_store_writes_total{action="set"}`:                               1,
		`etcd_debugging_store_writes_failed_total{action="compareAndSwap"}`:             1,
		`etcd_debugging_store_writes_total{action="delete"}`:                            1,
		`etcd_debugging_store_writes_total{action="create"}`:                            0,
		`etcd_debugging_store_reads_failed_total{action="get"}`:                         1,
		`etcd_debugging_store_reads_total{action="getRecursive"}`:                       1,
		`etcd_debugging_store_watch_requests_total`:                                     1,
		`etcd_debugging_store_watchers`:                                                 0,
		`etcd_debugging_store_expires_total`:                                            0,
		`etcd_server_heartbeat_send_failures_total`:                                     0,
	}
	got := awaitMetrics(t, server, func(got map[string]float64) (faults []string) {
		for name, want := range values {
			if v, ok := got[name]; !ok || v != want {
				faults = append(faults, fmt.Sprintf("%s is %v (served: %t), want %v", name, v, ok, want))
			}
		}
		return faults
	})
	for _, name := range []string{
		"etcd_debugging_auth_revision", "etcd_debugging_mvcc_db_compaction_last", "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds_count",
		"etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds_count", "etcd_disk_wal_write_duration_seconds_count",
	} {
		if got[name] <= 0 {
			t.Errorf("%s is %v", name, got[name])
		}
	}
	before := got["etcd_disk_wal_write_bytes_total"]
	const written = 300_000
	body := `{"key":"YQ==","value":"` + strings.Repeat("aaaa", written/3) + `"}`
	if resp, text := do(t, "POST", server.URL()+"/v3/kv/put", body); resp.StatusCode != 200 {
		t.Fatalf("put: %d %s", resp.StatusCode, text)
	}
	if grown := metrics(t, server)["etcd_disk_wal_write_bytes_total"] - before; grown < written || grown > written+5_000 {
		t.Errorf("etcd_disk_wal_write_bytes_total grew by %v with a value of %d bytes", grown, written)
	}
}
