package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// CertificateState is one certificate in use.
type CertificateState struct {
	Role     string // "client" or "peer": the port that it is for
	File     string
	NotAfter time.Time
}

// certificates collects the expiry of certificates.
type certificates func() []CertificateState

var certificateExpiry = prometheus.NewDesc("cairn_certificate_expiry_timestamp_seconds",
	"Unix time of the end of validity of the certificates in a file, of the one that ends first.", []string{"role", "file"}, nil)

// ShowCertificates sets the function that returns the certificates at each scrape. It must be
// called at most once.
func (m *Metrics) ShowCertificates(f func() []CertificateState) {
	m.registry.MustRegister(certificates(f))
}

// Describe implements prometheus.Collector.
func (certificates) Describe(to chan<- *prometheus.Desc) { to <- certificateExpiry }

// Collect implements prometheus.Collector.
func (c certificates) Collect(to chan<- prometheus.Metric) {
	type key struct{ role, file string }
	first := map[key]time.Time{}
	for _, s := range c() {
		k := key{s.Role, s.File}
		if at, ok := first[k]; !ok || s.NotAfter.Before(at) {
			first[k] = s.NotAfter
		}
	}
	for k, at := range first {
		to <- prometheus.MustNewConstMetric(certificateExpiry, prometheus.GaugeValue, float64(at.Unix()), k.role, k.file)
	}
}
