package metrics

import (
	"strconv"
	"strings"
	"testing"
)

func TestClientVersions(t *testing.T) {
	m := New(1)
	m.ClientVersion("3.6").Unary.Inc()
	m.ClientVersion("3.6").Unary.Inc()
	m.ClientVersion("3.4").Stream.Inc()
	for _, odd := range []string{"", "a b", "\xff", strings.Repeat("3", 33)} {
		m.ClientVersion(odd).Unary.Inc()
	}
	text, _ := scrape(t, m)
	for _, want := range []string{
		`etcd_server_client_requests_total{client_api_version="3.6",type="unary"} 2`,
		`etcd_server_client_requests_total{client_api_version="3.4",type="stream"} 1`,
		`etcd_server_client_requests_total{client_api_version="unknown",type="unary"} 4`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("there is no %s", want)
		}
	}
	// A client that invents versions gets no more of them served than the limit.
	for i := range 1000 {
		m.ClientVersion("0." + strconv.Itoa(i)).Unary.Inc()
	}
	text, _ = scrape(t, m)
	if n := strings.Count(text, "etcd_server_client_requests_total{"); n > 2*(clientVersionsMax+1) {
		t.Errorf("%d counters for clients", n)
	}
	if n := testing.AllocsPerRun(100, func() { m.ClientVersion("3.6").Unary.Inc() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
