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

// RevocationListState is one revocation list in use.
type RevocationListState struct {
	Role       string // as in CertificateState
	File       string
	NextUpdate time.Time
}

// expiries collects the times at which files expire.
type expiries struct {
	desc *prometheus.Desc
	of   func() map[roleFile]time.Time
}

type roleFile struct{ role, file string }

var certificateExpiry = prometheus.NewDesc("cairn_certificate_expiry_timestamp_seconds",
	"Unix time of the end of validity of the certificates in a file, of the one that ends first.", []string{"role", "file"}, nil)

var revocationExpiry = prometheus.NewDesc("cairn_crl_next_update_timestamp_seconds",
	"Unix time at which the revocation lists in a file are out of date, of the one that is first.", []string{"role", "file"}, nil)

// ShowCertificates sets the functions that return the certificates and the revocation lists at each
// scrape. It must be called at most once.
func (m *Metrics) ShowCertificates(certificates func() []CertificateState, lists func() []RevocationListState) {
	m.registry.MustRegister(expiries{certificateExpiry, func() map[roleFile]time.Time {
		first := earliest{}
		for _, c := range certificates() {
			first.add(c.Role, c.File, c.NotAfter)
		}
		return first
	}}, expiries{revocationExpiry, func() map[roleFile]time.Time {
		first := earliest{}
		for _, l := range lists() {
			first.add(l.Role, l.File, l.NextUpdate)
		}
		return first
	}})
}

// earliest has the first time of each file.
type earliest map[roleFile]time.Time

func (e earliest) add(role, file string, at time.Time) {
	k := roleFile{role, file}
	if known, ok := e[k]; !ok || at.Before(known) {
		e[k] = at
	}
}

// Describe implements prometheus.Collector.
func (e expiries) Describe(to chan<- *prometheus.Desc) { to <- e.desc }

// Collect implements prometheus.Collector.
func (e expiries) Collect(to chan<- prometheus.Metric) {
	for k, at := range e.of() {
		to <- prometheus.MustNewConstMetric(e.desc, prometheus.GaugeValue, float64(at.Unix()), k.role, k.file)
	}
}
