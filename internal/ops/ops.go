// Package ops owns the HTTP paths about a member rather than about keys: /version, /health, /livez,
// /readyz, /metrics, /debug/… and the log level at /config/local/log; the rules on origins and
// hosts (Access); and gRPC's own services, health and reflection. Statuses, headers and bodies are
// those of etcd 3.7 or, if v2 is served and etcd 3.1 has the path, of 3.1.5 (see the recorded cases
// endpoints, bad-methods and unknown-paths).
//
// It does not own the member's health and numbers, which Member and Metrics return.
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

// Member is the part of a member that the paths need.
type Member interface {
	// CheckRead reads from the store, linearizably or serializably, and returns the error.
	CheckRead(ctx context.Context, serializable bool) error
	// Leader returns the leader's ID, or 0.
	Leader() uint64
	// MissingMajority returns why there is no leader, for example "1 of 3 members up, waiting for a
	// majority", or "" while there is one.
	MissingMajority() string
	// IsLearner reports whether the member is a learner.
	IsLearner() bool
	// Alarms returns etcd's names of the alarms that are raised: NOSPACE, CORRUPT.
	Alarms() []string
	// ClusterVersion returns the version that the cluster has agreed on, as in 3.7.0, or "" before
	// it has.
	ClusterVersion() string
}

// Config configures the handlers.
type Config struct {
	Member  Member
	Metrics *metrics.Metrics
	Level   *slog.LevelVar // set by /config/local/log
	// RequireRoot returns a handler that serves only callers with the role root, if authentication
	// is enabled; nil means that all callers may set the log level.
	RequireRoot func(http.Handler) http.Handler
	Pprof       bool // serve /debug/pprof/
	// V2 makes the bodies of /health and /version those of etcd 3.1 on the client port. It is set
	// if v2 is served.
	V2 bool
	// Timeout limits the read of a health check; 0 means 7 s, the sum of etcd's defaults.
	Timeout time.Duration
	// Vars are members of /debug/vars in addition to the command line and the memory statistics.
	Vars map[string]func() any
}

// timeoutDefault is etcd's limit for a request: 5 s and two election timeouts.
const timeoutDefault = 7 * time.Second

// Register adds all paths of the client port to a mux.
func Register(mux *http.ServeMux, c Config) {
	c.registerVersion(mux)
	c.registerHealth(mux)
	mux.Handle("/metrics", c.Metrics.Handler())
	mux.HandleFunc("GET /{$}", c.serveRoot)
	mux.HandleFunc("/debug/vars", only(c.serveVars, http.MethodGet))
	var setLevel http.Handler = http.HandlerFunc(c.serveLogLevel)
	if c.RequireRoot != nil {
		setLevel = c.RequireRoot(setLevel)
	}
	mux.HandleFunc("/config/local/log", only(setLevel.ServeHTTP, http.MethodPut))
	if c.Pprof {
		registerPprof(mux)
	}
}

// PeerHandler serves the peer port's paths about the member.
func PeerHandler(c Config) http.Handler {
	mux := http.NewServeMux()
	c.registerVersion(mux)
	c.registerHealth(mux)
	return ServeOptions(mux)
}

// MetricsHandler serves the paths of --listen-metrics-urls, which etcd 3.1 does not have.
func MetricsHandler(c Config) http.Handler {
	c.V2 = false
	mux := http.NewServeMux()
	c.registerHealth(mux)
	mux.Handle("/metrics", c.Metrics.Handler())
	return ServeOptions(mux)
}

// ServeOptions responds to OPTIONS with an empty 200 on every path, whether it exists or not, as
// etcd does for the preflight requests of browsers.
func ServeOptions(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusOK)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// only rejects other methods than the given ones. As in etcd 3.1 the Allow header has no blanks.
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

// serveVersion serves /version. The fields are in etcd's order; clients wait while the cluster's
// version is "not_decided".
func (c Config) serveVersion(w http.ResponseWriter, _ *http.Request) {
	cluster, storage := c.Member.ClusterVersion(), version.Cluster
	if cluster == "" {
		cluster, storage = notDecided, notDecided
	}
	if c.V2 {
		storage = "" // etcd 3.1 does not have it
	}
	writeJSON(w, http.StatusOK, "application/json", struct {
		Server  string `json:"etcdserver"`
		Cluster string `json:"etcdcluster"`
		Storage string `json:"storage,omitempty"`
	}{version.API, cluster, storage})
}

// serveRoot serves a line of text about the server to humans: browsers and curl send Accept. A
// client library without Accept gets the 404 of etcd 3.1.
func (c Config) serveRoot(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Accept") == "" {
		http.NotFound(w, r)
		return
	}
	api := "/v3/"
	if c.V2 {
		api += " and /v2/keys"
	}
	waits := ""
	if reason := c.Member.MissingMajority(); reason != "" {
		waits = " Requests wait: " + reason + "."
	}
	writeText(w, http.StatusOK, "This is cairn "+version.Cairn+", which serves the API of etcd "+version.API+
		": use etcdctl, a client library, or "+api+"; see /version, /health and /metrics."+waits+"\n")
}

// notDecided is the version before the cluster has agreed on one.
const notDecided = "not_decided"

// serveVars serves the variables of package expvar, without its global registry.
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
	_, _ = w.Write(text) // the client may have disconnected
}
