package metrics

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// QuorumGet is etcd's name for the method of a linearizable read of the v2 API.
const QuorumGet = "QGET"

// V2Requests counts requests for keys of the v2 API, under etcd's names.
type V2Requests struct {
	methods map[string]v2Method
	failed  *prometheus.CounterVec
}

// v2Method has the resolved metrics of a method.
type v2Method struct {
	received prometheus.Counter
	took     prometheus.Observer
}

func newV2Requests(registry *prometheus.Registry) *V2Requests {
	received := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "etcd_http_received_total", Help: "Requests for keys of the v2 API that were understood, without watches.",
	}, []string{"method"})
	failed := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "etcd_http_failed_total", Help: "Requests for keys of the v2 API that were understood, and refused or failed, by HTTP status.",
	}, []string{"method", "code"})
	took := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "etcd_http_successful_duration_seconds", Help: "Time to serve a request for keys of the v2 API, without watches.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2, 13),
	}, []string{"method"})
	registry.MustRegister(received, failed, took)
	v := &V2Requests{methods: map[string]v2Method{}, failed: failed}
	for _, method := range []string{http.MethodGet, QuorumGet, http.MethodHead, http.MethodPut, http.MethodPost, http.MethodDelete} {
		v.methods[method] = v2Method{received.WithLabelValues(method), took.WithLabelValues(method)}
	}
	return v
}

// Received counts a request that is not a watch. The method is one of the v2 API, or QuorumGet.
func (v *V2Requests) Received(method string) { v.methods[method].received.Inc() }

// Served counts a request that was received and served.
func (v *V2Requests) Served(method string, took time.Duration) {
	v.methods[method].took.Observe(took.Seconds())
}

// Failed counts a request, also for a watch, that got an error with an HTTP status.
func (v *V2Requests) Failed(method string, status int) {
	v.failed.WithLabelValues(method, strconv.Itoa(status)).Inc()
}
