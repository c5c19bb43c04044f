package ops

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"cairn/internal/logging"
	"cairn/internal/metrics"
)

type member struct {
	sick    error // the error of reads that need other members
	broken  error // the error of every read
	leader  uint64
	learner bool
	alarms  []string
	cluster string
	missing string // why there is no leader
}

func (m *member) CheckRead(_ context.Context, serializable bool) error {
	if m.broken != nil || serializable {
		return m.broken
	}
	return m.sick
}
func (m *member) Leader() uint64          { return m.leader }
func (m *member) MissingMajority() string { return m.missing }
func (m *member) IsLearner() bool         { return m.learner }
func (m *member) Alarms() []string        { return m.alarms }
func (m *member) ClusterVersion() string  { return m.cluster }

func start(t *testing.T, handler http.Handler) func(method, path, body string) (*http.Response, string) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return func(method, path, body string) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequest(method, server.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(text)
	}
}

func all(c Config) http.Handler {
	mux := http.NewServeMux()
	Register(mux, c)
	return ServeOptions(mux)
}

const text = "text/plain; charset=utf-8"

// TestRecorded replays the recorded cases of these paths.
func TestRecorded(t *testing.T) {
	do := start(t, all(Config{Member: &member{leader: 1, cluster: "3.7.0"}, Metrics: metrics.New(1), Level: new(slog.LevelVar), V2: true}))
	for _, c := range []struct {
		request     string
		body        string
		status      int
		contentType string
		allow       string
		want        string
	}{
		{"GET /version", "", 200, "application/json", "", `{"etcdserver":"3.7.1","etcdcluster":"3.7.0"}`},
		{"GET /version?x=y", "", 200, "application/json", "", `{"etcdserver":"3.7.1","etcdcluster":"3.7.0"}`},
		{"GET /health", "", 200, text, "", `{"health": "true"}`},
		{"GET /health?x=y", "", 200, text, "", `{"health": "true"}`},
		{"PUT /version", "", 405, text, "GET", "Method Not Allowed\n"},
		{"POST /version", "", 405, text, "GET", "Method Not Allowed\n"},
		{"DELETE /version", "", 405, text, "GET", "Method Not Allowed\n"},
		{"HEAD /version", "", 405, text, "GET", ""},
		{"OPTIONS /version", "", 200, "", "", ""},
		{"PUT /health", "", 405, text, "GET", "Method Not Allowed\n"},
		{"HEAD /health", "", 405, text, "GET", ""},
		{"OPTIONS /nothing", "", 200, "", "", ""},
		{"GET /", "", 404, text, "", "404 page not found\n"},
		{"GET /version/", "", 404, text, "", "404 page not found\n"},
		{"GET /version/x", "", 404, text, "", "404 page not found\n"},
		{"GET /health/", "", 404, text, "", "404 page not found\n"},
		{"GET /metricsx", "", 404, text, "", "404 page not found\n"},
		{"HEAD /nothing", "", 404, text, "", ""},
		{"GET /debug/pprof/", "", 404, text, "", "404 page not found\n"},
		{"PUT /config/local/log", `{"Level": "INFO"}`, 204, "", "", ""},
		{"PUT /config/local/log", `{"Level": "debug"}`, 204, "", "", ""},
		{"PUT /config/local/log", `{"Level": "bogus"}`, 400, "application/json", "", `{"message":"Invalid log level bogus"}`},
		{"PUT /config/local/log", `nonsense`, 400, "application/json", "", `{"message":"Invalid json body"}`},
		{"PUT /config/local/log", `{}`, 400, "application/json", "", `{"message":"Invalid log level "}`},
		{"PUT /config/local/log", `{"Level": "` + strings.Repeat("x", logRequestBytesMax) + `"}`, 400, "application/json", "", `{"message":"Invalid json body"}`},
		{"GET /config/local/log", "", 405, text, "PUT", "Method Not Allowed\n"},
	} {
		method, path, _ := strings.Cut(c.request, " ")
		resp, body := do(method, path, c.body)
		if resp.StatusCode != c.status || body != c.want || resp.Header.Get("Content-Type") != c.contentType || resp.Header.Get("Allow") != c.allow {
			t.Errorf("%s: %d %q type %q allow %q, want %d %q type %q allow %q", c.request,
				resp.StatusCode, body, resp.Header.Get("Content-Type"), resp.Header.Get("Allow"), c.status, c.want, c.contentType, c.allow)
		}
	}
}

func TestSickMember(t *testing.T) {
	m := metrics.New(1)
	do := start(t, all(Config{Member: &member{leader: 1, sick: errors.New("no leader")}, Metrics: m, V2: true}))
	resp, body := do(http.MethodGet, "/health", "")
	if resp.StatusCode != http.StatusServiceUnavailable || body != `{"health": "false"}` || resp.Header.Get("Content-Type") != text {
		t.Errorf("%d %q %q", resp.StatusCode, body, resp.Header.Get("Content-Type"))
	}
	if _, body = do(http.MethodGet, "/version", ""); body != `{"etcdserver":"3.7.1","etcdcluster":"not_decided"}` {
		t.Errorf("version %s", body)
	}
	if _, body = do(http.MethodGet, "/metrics", ""); !strings.Contains(body, "etcd_server_health_failures 1\n") || !strings.Contains(body, "etcd_server_health_success 0\n") {
		t.Error("the failed check is not counted")
	}
}

// TestRoot expects a line of text for humans, and etcd's 404 for programs.
func TestRoot(t *testing.T) {
	handler := all(Config{Member: &member{leader: 1}, Metrics: metrics.New(1), V2: true})
	for accept, want := range map[string]int{"*/*": http.StatusOK, "text/html,*/*;q=0.8": http.StatusOK, "": http.StatusNotFound} {
		r, w := httptest.NewRequest(http.MethodGet, "/", nil), httptest.NewRecorder()
		if accept != "" {
			r.Header.Set("Accept", accept)
		}
		handler.ServeHTTP(w, r)
		if w.Code != want || strings.Count(w.Body.String(), "\n") != 1 || (want == http.StatusOK) != strings.Contains(w.Body.String(), "etcd 3.7.1") {
			t.Errorf("accept %q: %d %q", accept, w.Code, w.Body)
		}
	}
}

// TestReasonsWithoutLeader expects the reason wherever a response has room for one.
func TestReasonsWithoutLeader(t *testing.T) {
	const reason = "1 of 3 members up, waiting for a majority"
	do := start(t, all(Config{Member: &member{missing: reason}, Metrics: metrics.New(1), V2: true}))
	for path, want := range map[string]string{
		"/health":                    `{"health": "false"}`, // etcd 3.1's body has none
		"/health?serializable=false": `{"health":"false","reason":"RAFT NO LEADER: ` + reason + `"}` + "\n",
		"/readyz/linearizable_read":  "[-]linearizable_read failed: etcdserver: no leader: " + reason + "\n\n",
	} {
		if resp, body := do(http.MethodGet, path, ""); resp.StatusCode != http.StatusServiceUnavailable || body != want {
			t.Errorf("%s: %d %q, want %q", path, resp.StatusCode, body, want)
		}
	}
	r, w := httptest.NewRequest(http.MethodGet, "/", nil), httptest.NewRecorder()
	r.Header.Set("Accept", "*/*")
	all(Config{Member: &member{missing: reason}, Metrics: metrics.New(1)}).ServeHTTP(w, r)
	if !strings.Contains(w.Body.String(), reason) {
		t.Errorf("GET /: %s", w.Body)
	}
}

// TestWithoutV2 expects the bodies of etcd 3.7 where v2 is not served.
func TestWithoutV2(t *testing.T) {
	healthy, joining := &member{leader: 1, cluster: "3.7.0"}, &member{}
	for _, c := range []struct {
		member     *member
		path, want string
	}{
		{healthy, "/health", `{"health":"true","reason":""}`},
		{healthy, "/version", `{"etcdserver":"3.7.1","etcdcluster":"3.7.0","storage":"3.7.0"}`},
		{joining, "/health", `{"health":"false","reason":"RAFT NO LEADER"}` + "\n"},
		{joining, "/version", `{"etcdserver":"3.7.1","etcdcluster":"not_decided","storage":"not_decided"}`},
	} {
		do := start(t, all(Config{Member: c.member, Metrics: metrics.New(1)}))
		if _, body := do(http.MethodGet, c.path, ""); body != c.want {
			t.Errorf("%s: %q, want %q", c.path, body, c.want)
		}
	}
}

func TestVarsAndMetrics(t *testing.T) {
	do := start(t, all(Config{Member: &member{leader: 1}, Metrics: metrics.New(1), Vars: map[string]func() any{"raft": func() any { return 7 }}}))
	resp, body := do(http.MethodGet, "/debug/vars", "")
	var vars map[string]any
	if err := json.Unmarshal([]byte(body), &vars); err != nil {
		t.Fatal(err)
	}
	if resp.Header.Get("Content-Type") != "application/json; charset=utf-8" || vars["raft"] != 7.0 || vars["cmdline"] == nil || vars["memstats"] == nil {
		t.Errorf("type %q, vars %.200s", resp.Header.Get("Content-Type"), body)
	}
	resp, _ = do(http.MethodGet, "/metrics", "")
	if got := resp.Header.Get("Content-Type"); got != "text/plain; version=0.0.4" {
		t.Errorf("metrics have the type %q", got)
	}
}

func TestLogLevel(t *testing.T) {
	level := new(slog.LevelVar)
	do := start(t, all(Config{Member: &member{leader: 1}, Metrics: metrics.New(1), Level: level}))
	for name, want := range map[string]slog.Level{
		"debug": slog.LevelDebug, "D": slog.LevelDebug, "NOTICE": logging.LevelNotice, "warn": slog.LevelWarn, "CRITICAL": slog.LevelError, "i": slog.LevelInfo,
	} {
		if do(http.MethodPut, "/config/local/log", `{"Level":"`+name+`"}`); level.Level() != want {
			t.Errorf("%s set %v, want %v", name, level.Level(), want)
		}
	}
}

// TestOtherPorts checks which paths each port serves.
func TestOtherPorts(t *testing.T) {
	c := Config{Member: &member{leader: 1, cluster: "3.7.0"}, Metrics: metrics.New(1), Pprof: true}
	for name, port := range map[string]struct {
		handler http.Handler
		status  map[string]int
	}{
		"client":  {all(c), map[string]int{"/version": 200, "/health": 200, "/metrics": 200, "/debug/vars": 200, "/debug/pprof/": 200, "/debug/pprof/goroutine": 200, "/debug/pprof/cmdline": 200}},
		"peer":    {PeerHandler(c), map[string]int{"/version": 200, "/health": 200, "/metrics": 404, "/debug/vars": 404, "/debug/pprof/": 404}},
		"metrics": {MetricsHandler(c), map[string]int{"/version": 404, "/health": 200, "/metrics": 200, "/debug/vars": 404}},
	} {
		do := start(t, port.handler)
		for path, want := range port.status {
			if resp, _ := do(http.MethodGet, path, ""); resp.StatusCode != want {
				t.Errorf("%s port: %s is %d, want %d", name, path, resp.StatusCode, want)
			}
		}
	}
}
