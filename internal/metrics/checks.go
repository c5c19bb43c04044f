package metrics

import "github.com/prometheus/client_golang/prometheus"

// checkVectors are the metrics of the individual checks of /livez and /readyz.
type checkVectors struct {
	last  *prometheus.GaugeVec
	total *prometheus.CounterVec
}

// The values of the label status.
const (
	checkSuccess = "success"
	checkError   = "error"
)

func newCheckVectors(registry *prometheus.Registry) checkVectors {
	v := checkVectors{
		last: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "etcd_server_healthcheck", Help: "1 if the check succeeded when it was last asked for.",
		}, []string{"type", "name"}),
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "etcd_server_healthchecks_total", Help: "Checks asked for, by how they ended.",
		}, []string{"type", "name", "status"}),
	}
	registry.MustRegister(v.last, v.total)
	return v
}

// AddHealthcheck creates the counters of a check of /livez or /readyz (the kind, without its
// slash). They are served from then on, initially 0.
func (m *Metrics) AddHealthcheck(kind, name string) {
	m.checks.total.WithLabelValues(kind, name, checkSuccess)
	m.checks.total.WithLabelValues(kind, name, checkError)
}

// Healthcheck counts a check. Probes come every few seconds, so the labels are looked up.
func (m *Metrics) Healthcheck(kind, name string, ok bool) {
	value, status := 0.0, checkError
	if ok {
		value, status = 1, checkSuccess
	}
	m.checks.last.WithLabelValues(kind, name).Set(value)
	m.checks.total.WithLabelValues(kind, name, status).Inc()
}
