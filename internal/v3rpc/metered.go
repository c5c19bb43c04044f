package v3rpc

import (
	"context"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"cairn/internal/metrics"
	"cairn/internal/tracing"
)

// observed returns a service whose calls are counted in grpc_server_…, traced, and logged if they
// are slow. The counters of each method are looked up here, once.
func observed(desc *grpc.ServiceDesc, o observer) *grpc.ServiceDesc {
	o.meters.AddService(desc)
	out := *desc
	out.Methods, out.Streams = slices.Clone(desc.Methods), slices.Clone(desc.Streams)
	for i := range out.Methods {
		m := &out.Methods[i]
		m.Handler = o.unary(m.Handler, "/"+desc.ServiceName+"/"+m.MethodName)
	}
	for i := range out.Streams {
		s := &out.Streams[i]
		s.Handler = meteredStream(s.Handler, o.meters, o.meters.Method("/"+desc.ServiceName+"/"+s.StreamName))
	}
	return &out
}

// Metered registers services whose calls are counted in grpc_server_…, like those of this package.
// It is for the services of gRPC itself, which etcd counts too.
type Metered struct {
	reflection.GRPCServer
	Meters *metrics.Metrics
}

// RegisterService implements grpc.ServiceRegistrar.
func (m Metered) RegisterService(desc *grpc.ServiceDesc, impl any) {
	m.GRPCServer.RegisterService(observed(desc, observer{meters: m.Meters}), impl)
}

// clientOf returns the counters of the client's version, which etcd's clients send with each call.
func clientOf(ctx context.Context, meters *metrics.Metrics) *metrics.ClientVersion {
	if v := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataClientAPIVersionKey); len(v) > 0 {
		return meters.ClientVersion(v[0])
	}
	return meters.ClientVersion("")
}

// observer counts, traces and logs unary calls.
type observer struct {
	meters *metrics.Metrics
	tracer *tracing.Tracer
	slow   slowLog
}

func (o observer) unary(handle grpc.MethodHandler, full string) grpc.MethodHandler {
	m := o.meters.Method(full)
	return func(srv any, ctx context.Context, dec func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		clientOf(ctx, o.meters).Unary.Inc()
		m.Started.Inc()
		m.Received.Inc()
		began := begin(m)
		ctx, endSpan := o.tracer.Request(ctx, full)
		decoded := decodings.Get().(*decoding)
		decoded.dec = dec
		resp, err := handle(srv, ctx, decoded.decode, intercept)
		var took time.Duration
		if m.Timed() {
			took = decoded.ended().Sub(began)
			end(m, took, err == nil)
		}
		if o.slow.is(took) {
			o.slow.write(ctx, full, began, took, decoded.req, resp)
		}
		decoded.put()
		if endSpan != nil {
			endSpan(err)
		}
		m.Handled(status.Code(err)).Inc()
		if err == nil {
			m.Sent.Inc()
		}
		return resp, err
	}
}

// begin returns the time at which a call starts, if it is measured.
func begin(m *metrics.Method) (began time.Time) {
	if m.Timed() {
		began = time.Now()
	}
	return began
}

// end observes the duration of a call that is measured.
func end(m *metrics.Method, took time.Duration, ok bool) {
	seconds := took.Seconds()
	if m.Seconds != nil {
		m.Seconds.Observe(seconds)
	}
	if requests := m.Request(ok); requests != nil {
		requests.Observe(seconds)
	}
}

func meteredStream(handle grpc.StreamHandler, meters *metrics.Metrics, m *metrics.Method) grpc.StreamHandler {
	return func(srv any, stream grpc.ServerStream) error {
		clientOf(stream.Context(), meters).Stream.Inc()
		m.Started.Inc()
		began := begin(m)
		err := handle(srv, &meteredServerStream{stream, m})
		if m.Timed() {
			end(m, time.Since(began), err == nil)
		}
		m.Handled(status.Code(err)).Inc()
		return err
	}
}

// meteredServerStream counts the messages of a stream.
type meteredServerStream struct {
	grpc.ServerStream
	m *metrics.Method
}

// RecvMsg implements grpc.ServerStream.
func (s *meteredServerStream) RecvMsg(msg any) error {
	err := s.ServerStream.RecvMsg(msg)
	if err == nil {
		s.m.Received.Inc()
	}
	return err
}

// SendMsg implements grpc.ServerStream.
func (s *meteredServerStream) SendMsg(msg any) error {
	err := s.ServerStream.SendMsg(msg)
	if err == nil {
		s.m.Sent.Inc()
	}
	return err
}

// batchStream is a stream that sends many small messages with one write: SendMore may leave a
// message in the output until Flush or SendMsg. RecvBuffered receives a message, if one has arrived
// already, and reports whether it has. The streams of grpcserver implement it.
type batchStream interface {
	grpc.ServerStream
	SendMore(msg any) error
	Flush()
	RecvBuffered(msg any) bool
}

// RecvBuffered implements batchStream. It receives nothing if the stream does not implement it.
func (s *meteredServerStream) RecvBuffered(msg any) bool {
	batch, ok := s.ServerStream.(batchStream)
	if !ok || !batch.RecvBuffered(msg) {
		return false
	}
	s.m.Received.Inc()
	return true
}

// SendMore implements batchStream, by SendMsg if the stream does not.
func (s *meteredServerStream) SendMore(msg any) error {
	batch, ok := s.ServerStream.(batchStream)
	if !ok {
		return s.SendMsg(msg)
	}
	err := batch.SendMore(msg)
	if err == nil {
		s.m.Sent.Inc()
	}
	return err
}

// Flush implements batchStream.
func (s *meteredServerStream) Flush() {
	if batch, ok := s.ServerStream.(batchStream); ok {
		batch.Flush()
	}
}
