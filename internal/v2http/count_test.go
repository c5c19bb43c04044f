package v2http

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"cairn/internal/kv"
	"cairn/internal/metrics"
)

// TestCount compares the counts after some requests with those of etcd 3.4.23 after the same ones.
func TestCount(t *testing.T) {
	s := newTree(t, func() kv.ClusterTime { return 1 })
	meters := metrics.New(1)
	h := New(Options{Backend: s, Requests: meters.V2})
	for _, request := range []string{
		"PUT /a?value=1", "GET /a", "GET /a?quorum=true", "HEAD /a", "POST /q?value=1", "GET /nope", "DELETE /a?prevValue=2",
		"GET /a?wait=maybe", "PATCH /a", // not understood
	} {
		method, target, _ := strings.Cut(request, " ")
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, "/v2/keys"+target, nil))
	}
	w := httptest.NewRecorder()
	meters.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	var got []string
	for line := range strings.Lines(w.Body.String()) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "etcd_http_") && !strings.Contains(line, "_bucket") && !strings.Contains(line, "_sum") {
			got = append(got, line)
		}
	}
	want := []string{
		`etcd_http_failed_total{code="404",method="GET"} 1`,
		`etcd_http_failed_total{code="412",method="DELETE"} 1`,
		`etcd_http_received_total{method="DELETE"} 1`,
		`etcd_http_received_total{method="GET"} 2`,
		`etcd_http_received_total{method="HEAD"} 1`,
		`etcd_http_received_total{method="POST"} 1`,
		`etcd_http_received_total{method="PUT"} 1`,
		`etcd_http_received_total{method="QGET"} 1`,
		`etcd_http_successful_duration_seconds_count{method="DELETE"} 0`,
		`etcd_http_successful_duration_seconds_count{method="GET"} 1`,
		`etcd_http_successful_duration_seconds_count{method="HEAD"} 1`,
		`etcd_http_successful_duration_seconds_count{method="POST"} 1`,
		`etcd_http_successful_duration_seconds_count{method="PUT"} 1`,
		`etcd_http_successful_duration_seconds_count{method="QGET"} 1`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
