package metrics

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// clientVersionsMax limits how many versions of clients are distinguished, since clients choose the
// text.
const clientVersionsMax = 64

// unknownVersion is the label of clients without a version, such as curl at the JSON gateway, and
// of those beyond the limit.
const unknownVersion = "unknown"

// ClientVersion holds the counters of the calls by clients of one version of the API.
type ClientVersion struct{ Unary, Stream prometheus.Counter }

// clientVersions finds counters by a version without a lock and without allocating. The map is
// immutable and replaced as a whole.
type clientVersions struct {
	total   *prometheus.CounterVec
	known   atomic.Pointer[map[string]*ClientVersion]
	mu      sync.Mutex // serializes replacements
	unknown *ClientVersion
}

func newClientVersions(registry *prometheus.Registry) *clientVersions {
	v := &clientVersions{total: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "etcd_server_client_requests_total", Help: "RPCs begun, by the version of the API that the client says it has.",
	}, []string{"type", "client_api_version"})}
	registry.MustRegister(v.total)
	v.unknown = v.counters(unknownVersion)
	v.known.Store(&map[string]*ClientVersion{unknownVersion: v.unknown})
	return v
}

func (v *clientVersions) counters(version string) *ClientVersion {
	return &ClientVersion{Unary: v.total.WithLabelValues("unary", version), Stream: v.total.WithLabelValues("stream", version)}
}

// ClientVersion returns the counters of a version, which may be "".
func (m *Metrics) ClientVersion(version string) *ClientVersion {
	if version == "" {
		return m.clients.unknown
	}
	if c := (*m.clients.known.Load())[version]; c != nil {
		return c
	}
	return m.clients.add(version)
}

func (v *clientVersions) add(version string) *ClientVersion {
	v.mu.Lock()
	defer v.mu.Unlock()
	known := *v.known.Load()
	if c := known[version]; c != nil {
		return c
	}
	if len(known) > clientVersionsMax || !isVersion(version) {
		return v.unknown
	}
	more, c := maps.Clone(known), v.counters(version)
	more[version] = c
	v.known.Store(&more)
	return c
}

// isVersion reports whether a text may be a version: a label is served unchanged.
func isVersion(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' {
			return false
		}
	}
	return len(s) <= 32
}
