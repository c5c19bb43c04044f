package ops

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
)

// The names of etcd's alarms in ?exclude=.
const (
	alarmNoSpace = "NOSPACE"
	alarmCorrupt = "CORRUPT"
)

// serveHealth serves /health. The body is that of etcd 3.7, with the reason. If v2 is served, a
// request without the parameters of 3.4 and later, ?serializable= and ?exclude=, gets the body of
// etcd 3.1, which scripts compare as a text.
func (c Config) serveHealth(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	reason := c.sickness(r.Context(), query.Get("serializable") == "true", query["exclude"])
	status, counter := http.StatusOK, c.Metrics.HealthSuccesses
	if reason != "" {
		status, counter = http.StatusServiceUnavailable, c.Metrics.HealthFailures
	}
	counter.Inc()
	healthy := "true"
	if reason != "" {
		healthy = "false"
	}
	if c.V2 && !query.Has("serializable") && !query.Has("exclude") {
		writeText(w, status, `{"health": "`+healthy+`"}`)
		return
	}
	body, err := json.Marshal(struct {
		Health string `json:"health"`
		Reason string `json:"reason"`
	}{healthy, reason})
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	if reason != "" {
		http.Error(w, string(body), status)
		return
	}
	writeText(w, status, string(body))
}

// sickness returns, in etcd's text, why the member is not healthy, or "". Unless serializable is
// set the member also needs a leader and a quorum.
func (c Config) sickness(ctx context.Context, serializable bool, excluded []string) string {
	for _, alarm := range c.Member.Alarms() {
		switch {
		case slices.Contains(excluded, alarm):
		case alarm == alarmNoSpace, alarm == alarmCorrupt:
			return "ALARM " + alarm
		default:
			return "ALARM UNKNOWN"
		}
	}
	if !serializable && c.Member.Leader() == 0 {
		return withReason("RAFT NO LEADER", c.Member.MissingMajority())
	}
	if err := c.read(ctx, serializable); err != nil {
		return "RANGE ERROR:" + err.Error()
	}
	return ""
}

// withReason appends the reason to etcd's text, if there is one.
func withReason(text, reason string) string {
	if reason == "" {
		return text
	}
	return text + ": " + reason
}

func (c Config) read(ctx context.Context, serializable bool) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	return c.Member.CheckRead(ctx, serializable)
}

// noLeader is etcd's error of reads without a leader.
const noLeader = "etcdserver: no leader"

// check is a check of /livez or /readyz.
type check struct {
	name string
	find func(c Config, ctx context.Context) error
}

var (
	checkSerializable = check{"serializable_read", func(c Config, ctx context.Context) error { return c.read(ctx, true) }}
	checkLinearizable = check{"linearizable_read", func(c Config, ctx context.Context) error {
		if c.Member.Leader() == 0 { // the read would wait for one until the timeout
			return errors.New(withReason(noLeader, c.Member.MissingMajority()))
		}
		return c.read(ctx, false)
	}}
	checkCorruption = check{"data_corruption", func(c Config, _ context.Context) error {
		if slices.Contains(c.Member.Alarms(), alarmCorrupt) {
			return errors.New("alarm activated: CORRUPT")
		}
		return nil
	}}
	checkLearner = check{"non_learner", func(c Config, _ context.Context) error {
		if c.Member.IsLearner() {
			return errors.New("not supported for learner")
		}
		return nil
	}}
)

// probes are etcd's: /livez fails if the member should be restarted, /readyz if it should receive
// no requests.
var probes = []struct {
	kind   string
	checks []check
}{
	{"livez", []check{checkSerializable}},
	{"readyz", []check{checkCorruption, checkSerializable, checkLinearizable, checkLearner}},
}

// registerProbes registers /livez, /readyz and a path for each of their checks.
func (c Config) registerProbes(mux *http.ServeMux) {
	for _, p := range probes {
		mux.HandleFunc("/"+p.kind, only(c.serveProbe(p.kind, p.checks), http.MethodGet))
		for _, one := range p.checks {
			mux.HandleFunc("/"+p.kind+"/"+one.name, only(c.serveProbe(p.kind, []check{one}), http.MethodGet))
			c.Metrics.AddHealthcheck(p.kind, one.name)
		}
	}
}

// serveProbe runs the checks except those that ?exclude= names. The response lists the checks if
// one has failed, or with ?verbose.
func (c Config) serveProbe(kind string, checks []check) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		report, failed := "", false
		for _, one := range checks {
			if len(checks) > 1 && slices.Contains(query["exclude"], one.name) {
				continue
			}
			err := one.find(c, r.Context())
			c.Metrics.Healthcheck(kind, one.name, err == nil)
			if err != nil {
				failed = true
				report += "[-]" + one.name + " failed: " + err.Error() + "\n"
				continue
			}
			report += "[+]" + one.name + " ok\n"
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		switch {
		case failed:
			http.Error(w, report, http.StatusServiceUnavailable)
		case query.Has("verbose"):
			writeText(w, http.StatusOK, report+"ok\n")
		default:
			writeText(w, http.StatusOK, "ok\n")
		}
	}
}

func writeText(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) // the client may have disconnected
}
