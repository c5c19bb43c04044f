package metrics

import (
	"os"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sys/unix"
)

// mirror serves a counter under the name that it had in etcd up to 3.4, for dashboards of that
// time.
type mirror struct {
	desc *prometheus.Desc
	of   prometheus.Counter
}

func mirrorOf(name, help string, of prometheus.Counter) mirror {
	return mirror{prometheus.NewDesc(name, help, nil, nil), of}
}

// Describe implements prometheus.Collector.
func (m mirror) Describe(to chan<- *prometheus.Desc) { to <- m.desc }

// Collect implements prometheus.Collector.
func (m mirror) Collect(to chan<- prometheus.Metric) {
	var now dto.Metric
	if m.of.Write(&now) == nil { // cannot fail for a counter
		to <- prometheus.MustNewConstMetric(m.desc, prometheus.CounterValue, now.GetCounter().GetValue())
	}
}

// descriptors serves etcd's os_fd_…, the numbers of the process's file descriptors.
type descriptors struct{}

var (
	fdUsedDesc  = prometheus.NewDesc("os_fd_used", "File descriptors that the process has open.", nil, nil)
	fdLimitDesc = prometheus.NewDesc("os_fd_limit", "File descriptors that the process may have open.", nil, nil)
)

// Describe implements prometheus.Collector.
func (descriptors) Describe(to chan<- *prometheus.Desc) {
	to <- fdUsedDesc
	to <- fdLimitDesc
}

// Collect implements prometheus.Collector. There is no metric where the system does not provide it.
func (descriptors) Collect(to chan<- prometheus.Metric) {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
		to <- prometheus.MustNewConstMetric(fdLimitDesc, prometheus.GaugeValue, float64(limit.Cur))
	}
	if open, err := os.ReadDir("/proc/self/fd"); err == nil {
		to <- prometheus.MustNewConstMetric(fdUsedDesc, prometheus.GaugeValue, float64(len(open)))
	}
}
