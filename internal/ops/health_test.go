package ops

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"cairn/internal/metrics"
)

// TestHealth compares /health with etcd 3.7's, and with 3.1's for requests that 3.1 supports, too.
func TestHealth(t *testing.T) {
	timeout := errors.New("etcdserver: request timed out")
	for _, c := range []struct {
		about  string
		m      member
		path   string
		status int
		body   string
	}{
		{"well", member{leader: 1}, "/health?serializable=false", 200, `{"health":"true","reason":""}`},
		{"well", member{leader: 1}, "/health?exclude=", 200, `{"health":"true","reason":""}`},
		{"no leader", member{}, "/health?serializable=false", 503, `{"health":"false","reason":"RAFT NO LEADER"}` + "\n"},
		{"no leader", member{sick: timeout}, "/health?serializable=true", 200, `{"health":"true","reason":""}`},
		{"no quorum", member{leader: 1, sick: timeout}, "/health?exclude=NOSPACE", 503, `{"health":"false","reason":"RANGE ERROR:etcdserver: request timed out"}` + "\n"},
		{"broken", member{leader: 1, broken: timeout}, "/health?serializable=true", 503, `{"health":"false","reason":"RANGE ERROR:etcdserver: request timed out"}` + "\n"},
		{"alarm", member{leader: 1, alarms: []string{"NOSPACE"}}, "/health?serializable=true", 503, `{"health":"false","reason":"ALARM NOSPACE"}` + "\n"},
		{"alarm", member{leader: 1, alarms: []string{"NOSPACE"}}, "/health?exclude=NOSPACE", 200, `{"health":"true","reason":""}`},
		{"alarms", member{leader: 1, alarms: []string{"NOSPACE", "CORRUPT"}}, "/health?exclude=NOSPACE", 503, `{"health":"false","reason":"ALARM CORRUPT"}` + "\n"},
		{"alarms", member{leader: 1, alarms: []string{"NOSPACE", "CORRUPT"}}, "/health?exclude=NOSPACE&exclude=CORRUPT", 200, `{"health":"true","reason":""}`},
		{"alarm", member{leader: 1, alarms: []string{"NOSPACE"}}, "/health", 503, `{"health": "false"}`},
		{"no leader", member{}, "/health", 503, `{"health": "false"}`},
	} {
		do := start(t, all(Config{Member: &c.m, V2: true, Metrics: metrics.New(1)}))
		resp, body := do(http.MethodGet, c.path, "")
		if resp.StatusCode != c.status || body != c.body || resp.Header.Get("Content-Type") != text {
			t.Errorf("%s: %s: %d %q %s, want %d %s", c.about, c.path, resp.StatusCode, resp.Header.Get("Content-Type"), body, c.status, c.body)
		}
	}
}

func TestProbes(t *testing.T) {
	sick := errors.New("no quorum")
	const report = "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n[+]non_learner ok\nok\n"
	for _, c := range []struct {
		about  string
		m      member
		path   string
		status int
		body   string
	}{
		{"well", member{leader: 1}, "/livez", 200, "ok\n"},
		{"well", member{leader: 1}, "/livez?verbose", 200, "[+]serializable_read ok\nok\n"},
		{"well", member{leader: 1}, "/livez/serializable_read?verbose", 200, "[+]serializable_read ok\nok\n"},
		{"well", member{leader: 1}, "/readyz", 200, "ok\n"},
		{"well", member{leader: 1}, "/readyz?verbose", 200, report},
		// the parameter's value is ignored
		{"well", member{leader: 1}, "/readyz?verbose=false", 200, report},
		{"well", member{leader: 1}, "/readyz?verbose&exclude=data_corruption&exclude=nonsense", 200, strings.SplitAfterN(report, "\n", 2)[1]},
		{"well", member{leader: 1}, "/readyz/nonsense", 404, "404 page not found\n"},
		{"no quorum", member{leader: 1, sick: sick}, "/livez", 200, "ok\n"},
		{"no quorum", member{leader: 1, sick: sick}, "/readyz", 503, "[+]data_corruption ok\n[+]serializable_read ok\n[-]linearizable_read failed: no quorum\n[+]non_learner ok\n\n"},
		{"no quorum", member{leader: 1, sick: sick}, "/readyz?exclude=linearizable_read", 200, "ok\n"},
		{"no quorum", member{leader: 1, sick: sick}, "/readyz/linearizable_read", 503, "[-]linearizable_read failed: no quorum\n\n"},
		{"no quorum", member{leader: 1, sick: sick}, "/readyz/linearizable_read?exclude=linearizable_read", 503, "[-]linearizable_read failed: no quorum\n\n"},
		{"no leader", member{}, "/readyz", 503, "[+]data_corruption ok\n[+]serializable_read ok\n[-]linearizable_read failed: etcdserver: no leader\n[+]non_learner ok\n\n"},
		{"no leader", member{}, "/livez", 200, "ok\n"},
		{"broken", member{broken: sick}, "/livez", 503, "[-]serializable_read failed: no quorum\n\n"},
		{"corrupt", member{alarms: []string{"CORRUPT"}}, "/readyz/data_corruption", 503, "[-]data_corruption failed: alarm activated: CORRUPT\n\n"},
		{"full", member{leader: 1, alarms: []string{"NOSPACE"}}, "/readyz", 200, "ok\n"},
		{"learner", member{learner: true}, "/readyz/non_learner", 503, "[-]non_learner failed: not supported for learner\n\n"},
	} {
		do := start(t, all(Config{Member: &c.m, V2: true, Metrics: metrics.New(1)}))
		resp, body := do(http.MethodGet, c.path, "")
		if resp.StatusCode != c.status || body != c.body || resp.Header.Get("Content-Type") != text {
			t.Errorf("%s: %s: %d %q %q, want %d %q", c.about, c.path, resp.StatusCode, resp.Header.Get("Content-Type"), body, c.status, c.body)
		}
	}
	do := start(t, all(Config{Member: &member{sick: sick}, V2: true, Metrics: metrics.New(1)}))
	do(http.MethodGet, "/readyz", "")
	_, body := do(http.MethodGet, "/metrics", "")
	for _, want := range []string{
		`etcd_server_healthcheck{name="linearizable_read",type="readyz"} 0`,
		`etcd_server_healthcheck{name="serializable_read",type="readyz"} 1`,
		`etcd_server_healthchecks_total{name="linearizable_read",status="error",type="readyz"} 1`,
		`etcd_server_healthchecks_total{name="serializable_read",status="success",type="readyz"} 1`,
		`etcd_server_healthchecks_total{name="serializable_read",status="success",type="livez"} 0`,
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("there is no %s", want)
		}
	}
	if resp, _ := do(http.MethodPost, "/readyz", ""); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", resp.StatusCode)
	}
}
