package grpcproxy

import "github.com/prometheus/client_golang/prometheus"

// Metrics are etcd's counters of its gRPC proxy.
type Metrics struct {
	hits, misses      prometheus.Counter
	keys              prometheus.Gauge
	watchers          prometheus.Gauge
	events            prometheus.Counter
	upstream, streams prometheus.Gauge
}

func newMetrics() *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "etcd", Subsystem: "grpc_proxy", Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "etcd", Subsystem: "grpc_proxy", Name: name, Help: help})
	}
	return &Metrics{
		hits:     counter("cache_hits_total", "serializable reads served from the cache"),
		misses:   counter("cache_misses_total", "serializable reads forwarded to the cluster"),
		keys:     gauge("cache_keys_total", "responses in the cache"),
		watchers: gauge("watchers_coalescing_total", "watchers of clients that share a watch of the cluster"),
		events:   counter("events_coalescing_total", "events delivered to clients beyond those that came from the cluster"),
		upstream: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "cairn", Subsystem: "grpc_proxy", Name: "upstream_watches", Help: "watches of the cluster"}),
		streams:  prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "cairn", Subsystem: "grpc_proxy", Name: "watchers", Help: "watchers of clients"}),
	}
}

// Collectors returns the metrics, for a registry.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.hits, m.misses, m.keys, m.watchers, m.events, m.upstream, m.streams}
}
