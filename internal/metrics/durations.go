package metrics

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// durations are histograms of the durations of requests and their parts. The labels of success are
// resolved: index 0 is "false", 1 is "true".
type durations struct {
	requests *prometheus.HistogramVec
	ranges   [2]prometheus.Observer

	// Apply is the time to apply a batch of commands, in seconds.
	Apply prometheus.Observer
	Watch WatchSends
}

// WatchSends are the times to send the responses of watches, in seconds, including waits for
// clients that do not read.
type WatchSends struct {
	Events, PerEvent  prometheus.Histogram // a delivery of events, and divided by their number
	Control, Progress prometheus.Histogram // responses to requests, and notifications of progress
}

// shortBuckets are etcd's buckets for operations that may need no disk: 0.1 ms to 52 s, doubling.
var shortBuckets = prometheus.ExponentialBuckets(0.0001, 2, 20)

func newDurations(registry *prometheus.Registry) durations {
	vector := func(name, help string, labels ...string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: shortBuckets}, labels)
		registry.MustRegister(v)
		return v
	}
	watch := func(name, help string) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "etcd_debugging_server_watch_send_loop_" + name + "_seconds", Help: help,
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 13),
		})
		registry.MustRegister(h)
		return h
	}
	ranges := vector("etcd_server_range_duration_seconds", "Time to read a range and encode it.", "success")
	apply := vector("etcd_server_apply_duration_seconds", "Time to apply a batch of commands.", "version", "op", "success")
	return durations{
		requests: vector("etcd_server_request_duration_seconds", "Time to serve a unary request, by its RPC.", "type", "success"),
		ranges:   [2]prometheus.Observer{ranges.WithLabelValues("false"), ranges.WithLabelValues("true")},
		Apply:    apply.WithLabelValues("v3", "Batch", "true"),
		Watch: WatchSends{
			Events:   watch("watch_stream_duration", "Time to send the events that a stream has waiting, of all its watches."),
			PerEvent: watch("watch_stream_duration_per_event", "Time to send the events that a stream has waiting, divided by their number."),
			Control:  watch("control_stream_duration", "Time to send the response to a request of a watch stream."),
			Progress: watch("progress_duration", "Time to send a notification of progress."),
		},
	}
}

// Range returns the histogram of successful or failed ranges.
func (d *durations) Range(ok bool) prometheus.Observer { return d.ranges[index(ok)] }

func index(ok bool) int {
	if ok {
		return 1
	}
	return 0
}

// ofMethod returns the histograms of a unary RPC, or nil for RPCs that etcd does not have.
func (d *durations) ofMethod(kind, service, method string) *[2]prometheus.Observer {
	if kind != "unary" || !strings.HasPrefix(service, "etcdserverpb.") {
		return nil
	}
	return &[2]prometheus.Observer{d.requests.WithLabelValues(method, "false"), d.requests.WithLabelValues(method, "true")}
}
