// Package ops owns the HTTP paths that are about a member rather than about keys: /version,
// /health, /livez, /readyz, /metrics, /debug/… and the log level at /config/local/log, with the
// statuses, headers and bodies that etcd 3.1.5 answers (see the recorded cases endpoints,
// bad-methods and unknown-paths), or 3.7 where 3.1 has nothing; who may ask them from where
// (Access); and gRPC's own services, health and reflection.
//
// It does not own whether the member is healthy or what its numbers are: it asks.
//
// Concurrency: handlers may be used from any number of goroutines.
package ops

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"strings"
	"time"

	"cairn/internal/metrics"
	"cairn/internal/version"
)

// Member is what the paths need to know of a member.
type Member interface {
	// CheckRead reads from the store, linearizably or what this member has, and returns why that is
	// not possible.
	CheckRead(ctx context.Context, serializable bool) error
	// Leader returns the leader's ID, or 0.
	Leader() uint64
	// IsLearner reports whether the member is one.
	IsLearner() bool
	// Alarms returns etcd's names of the alarms that are raised: NOSPACE, CORRUPT.
	Alarms() []string
	// ClusterVersion is the version that the cluster has agreed on, as in 3.7.0, or "" while there
	// is none.
	ClusterVersion() string
}

// Config is what the handlers serve.
type Config struct {
	Member  Member
	Metrics *metrics.Metrics
	Level   *slog.LevelVar // what /config/local/log sets
	Pprof   bool           // serve /debug/pprof/
	// of a read that a health check waits for; 0 means 7 s, as etcd's defaults come to
	Timeout time.Duration
	// Vars are members of /debug/vars beside the command line and the memory statistics.
	Vars map[string]func() any
}

// timeoutDefault is etcd's limit for a request: 5 s and two elections.
const timeoutDefault = 7 * time.Second

// Register adds all paths of the client port to a mux.
func Register(mux *http.ServeMux, c Config) {
	c.registerVersion(mux)
	c.registerHealth(mux)
	mux.Handle("/metrics", c.Metrics.Handler())
	mux.HandleFunc("/debug/vars", only(c.serveVars, http.MethodGet))
	mux.HandleFunc("/config/local/log", only(c.serveLogLevel, http.MethodPut))
	if c.Pprof {
		registerPprof(mux)
	}
}

// PeerHandler serves the peer port's paths that are about the member.
func PeerHandler(c Config) http.Handler {
	mux := http.NewServeMux()
	c.registerVersion(mux)
	c.registerHealth(mux)
	return AnswerOptions(mux)
}

// MetricsHandler serves the paths of --listen-metrics-urls.
func MetricsHandler(c Config) http.Handler {
	mux := http.NewServeMux()
	c.registerHealth(mux)
	mux.Handle("/metrics", c.Metrics.Handler())
	return AnswerOptions(mux)
}

// AnswerOptions answers OPTIONS on every path, also on those that are not there, with an empty 200,
// as etcd does for browsers that ask before they send.
func AnswerOptions(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusOK)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// only lets the given methods through. The wire's list of allowed methods has no blanks.
func only(serve http.HandlerFunc, methods ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, m := range methods {
			if r.Method == m {
				serve(w, r)
				return
			}
		}
		w.Header().Set("Allow", strings.Join(methods, ","))
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
	}
}

func (c Config) registerVersion(mux *http.ServeMux) {
	mux.HandleFunc("/version", only(c.serveVersion, http.MethodGet))
}

func (c Config) registerHealth(mux *http.ServeMux) {
	if c.Timeout <= 0 {
		c.Timeout = timeoutDefault
	}
	mux.HandleFunc("/health", only(c.serveHealth, http.MethodGet))
	c.registerProbes(mux)
}

// serveVersion writes the members in etcd's order; "not_decided" is what clients know to wait on.
func (c Config) serveVersion(w http.ResponseWriter, _ *http.Request) {
	cluster := c.Member.ClusterVersion()
	if cluster == "" {
		cluster = "not_decided"
	}
	writeJSON(w, http.StatusOK, "application/json", struct {
		Server  string `json:"etcdserver"`
		Cluster string `json:"etcdcluster"`
	}{version.API, cluster})
}

// serveVars is what package expvar serves, without its global registry.
func (c Config) serveVars(w http.ResponseWriter, _ *http.Request) {
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	vars := map[string]any{"cmdline": os.Args, "memstats": memory}
	for name, value := range c.Vars {
		vars[name] = value()
	}
	writeJSON(w, http.StatusOK, "application/json; charset=utf-8", vars)
}

func writeJSON(w http.ResponseWriter, status int, contentType string, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(text) // a client that has gone is no business of ours
}
