package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// codesMax is the highest code that gRPC defines.
const codesMax = codes.Unauthenticated

// The labels of RPCs.
const (
	kind    = "grpc_type"
	service = "grpc_service"
	method  = "grpc_method"
	code    = "grpc_code"
)

// grpcVectors are the metrics of RPCs under the names of go-grpc-prometheus, which etcd uses.
type grpcVectors struct {
	started, handled, received, sent *prometheus.CounterVec
	seconds                          *prometheus.HistogramVec // nil unless enabled
}

func newGRPCVectors(registry *prometheus.Registry) grpcVectors {
	vector := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		registry.MustRegister(v)
		return v
	}
	return grpcVectors{
		started:  vector("grpc_server_started_total", "RPCs begun.", kind, service, method),
		handled:  vector("grpc_server_handled_total", "RPCs ended, by the code that they ended with.", kind, service, method, code),
		received: vector("grpc_server_msg_received_total", "Messages received.", kind, service, method),
		sent:     vector("grpc_server_msg_sent_total", "Messages sent.", kind, service, method),
	}
}

// MeasureCalls adds histograms of the durations of calls, grpc_server_handling_seconds, as
// --metrics=extensive does in etcd. It is called before AddService.
func (m *Metrics) MeasureCalls() {
	m.grpc.seconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "grpc_server_handling_seconds", Help: "Time that RPCs took from begin to end.", Buckets: prometheus.DefBuckets,
	}, []string{kind, service, method})
	m.registry.MustRegister(m.grpc.seconds)
}

// Method has the counters of one RPC.
type Method struct {
	Started, Received, Sent prometheus.Counter
	// Seconds is nil unless calls are measured.
	Seconds prometheus.Observer

	requests *[2]prometheus.Observer // of etcd's unary RPCs, else nil

	handled [codesMax + 1]prometheus.Counter
}

// Request returns the histogram of successful or failed requests, or nil if the RPC has none.
func (m *Method) Request(ok bool) prometheus.Observer {
	if m.requests == nil {
		return nil
	}
	return m.requests[index(ok)]
}

// Timed reports whether the RPC's calls are measured.
func (m *Method) Timed() bool { return m.Seconds != nil || m.requests != nil }

// Handled returns the counter of calls that ended with a code. A code that gRPC does not define
// counts as unknown.
func (m *Method) Handled(code codes.Code) prometheus.Counter {
	if code > codesMax {
		code = codes.Unknown
	}
	return m.handled[code]
}

// AddService creates the counters of a service's methods. They are served from then on, initially
// 0, so that the rate of an error that has not occurred yet is 0 rather than missing.
func (m *Metrics) AddService(desc *grpc.ServiceDesc) {
	for _, method := range desc.Methods {
		m.addMethod("unary", desc.ServiceName, method.MethodName)
	}
	for _, stream := range desc.Streams {
		kind := "unary"
		switch {
		case stream.ClientStreams && stream.ServerStreams:
			kind = "bidi_stream"
		case stream.ClientStreams:
			kind = "client_stream"
		case stream.ServerStreams:
			kind = "server_stream"
		}
		m.addMethod(kind, desc.ServiceName, stream.StreamName)
	}
}

func (m *Metrics) addMethod(kind, service, method string) {
	c := &Method{
		Started:  m.grpc.started.WithLabelValues(kind, service, method),
		Received: m.grpc.received.WithLabelValues(kind, service, method),
		Sent:     m.grpc.sent.WithLabelValues(kind, service, method),
	}
	c.requests = m.ofMethod(kind, service, method)
	if m.grpc.seconds != nil {
		c.Seconds = m.grpc.seconds.WithLabelValues(kind, service, method)
	}
	for code := range c.handled {
		c.handled[code] = m.grpc.handled.WithLabelValues(kind, service, method, codes.Code(code).String())
	}
	m.methods["/"+service+"/"+method] = c
}

// Method returns the counters of an RPC by its full name, /etcdserverpb.KV/Put, or nil when no
// added service has it.
func (m *Metrics) Method(fullMethod string) *Method { return m.methods[fullMethod] }
