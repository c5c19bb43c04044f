// Package tracing sends spans of requests to a collector of OpenTelemetry over OTLP (gRPC).
//
// It owns the choice of requests to record, the names and attributes of their spans, and the
// connection to the collector. The package in which a part of a request happens measures it, and
// reports it to Part once it has ended.
//
// A request is recorded if its client recorded it (the traceparent of W3C in the call's metadata),
// or if it is in the sample.
//
// Invariants: with a nil *Tracer (tracing is disabled), or for a request that is not recorded, no
// call allocates or reads the clock; no request waits for the collector: when it is slow or down,
// spans are dropped.
//
// Concurrency: all methods may be called by any goroutine.
package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"cairn/internal/throttle"
)

// Options configures a Tracer.
type Options struct {
	Address     string // of the collector, HOST:PORT; connected to without TLS, as in etcd
	ServiceName string
	InstanceID  string // "" for none
	// SamplesPerMillion is the number of requests per million that are recorded although their
	// client does not record them.
	SamplesPerMillion int
	Logger            *slog.Logger // gets the errors of the connection to the collector
}

// Tracer records requests. A nil Tracer records none.
type Tracer struct {
	tracer   trace.Tracer
	provider *sdktrace.TracerProvider
}

const million = 1_000_000

// New returns a tracer. It does not wait for the collector.
func New(ctx context.Context, o Options) (*Tracer, error) {
	exporter, err := otlptrace.New(ctx, otlptracegrpc.NewClient(otlptracegrpc.WithInsecure(), otlptracegrpc.WithEndpoint(o.Address)))
	if err != nil {
		return nil, fmt.Errorf("connect to the collector at %s: %w", o.Address, err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(errorLog(o.Logger, o.Address, time.Now)))
	attributes := []attribute.KeyValue{attribute.String("service.name", o.ServiceName)}
	if o.InstanceID != "" {
		attributes = append(attributes, attribute.String("service.instance.id", o.InstanceID))
	}
	return newTracer(sdktrace.NewBatchSpanProcessor(exporter), o.SamplesPerMillion, attributes), nil
}

// errorLog returns a function that logs an error of the connection to the collector, at most once a
// minute: while the collector is down, there is one for each batch of spans.
func errorLog(log *slog.Logger, address string, now func() time.Time) func(error) {
	lines := throttle.New(time.Minute, now)
	return func(err error) {
		lines.Warn(log, "", "cannot send spans; they are dropped", "collector", address, "error", err)
	}
}

func newTracer(processor sdktrace.SpanProcessor, samplesPerMillion int, attributes []attribute.KeyValue) *Tracer {
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(float64(samplesPerMillion)/million))),
		sdktrace.WithResource(resource.NewSchemaless(attributes...)),
		sdktrace.WithSpanProcessor(processor),
	)
	return &Tracer{tracer: provider.Tracer("cairn"), provider: provider}
}

// Close sends the collected spans, until ctx ends.
func (t *Tracer) Close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	return t.provider.Shutdown(ctx)
}

// Request begins the span of a call of an RPC, by its full name /etcdserverpb.KV/Put. The context
// is for the handler of the call. end must be called with the result, unless the tracer is nil.
func (t *Tracer) Request(ctx context.Context, method string) (_ context.Context, end func(error)) {
	if t == nil {
		return ctx, nil
	}
	name := strings.TrimPrefix(method, "/")
	service, rpc, _ := strings.Cut(name, "/")
	ctx = propagation.TraceContext{}.Extract(ctx, incoming{ctx})
	ctx, span := t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("rpc.system", "grpc"), attribute.String("rpc.service", service), attribute.String("rpc.method", rpc)))
	return ctx, func(err error) {
		code := status.Code(err)
		span.SetAttributes(attribute.Int("rpc.grpc.status_code", int(code)))
		if err != nil {
			span.SetStatus(codes.Error, status.Convert(err).Message())
		}
		span.End()
	}
}

// Records reports whether the request of a context is recorded, so that its parts must be measured.
func (t *Tracer) Records(ctx context.Context) bool {
	return t != nil && trace.SpanFromContext(ctx).IsRecording()
}

// Now returns the time if the request of a context is recorded, and otherwise the zero time.
func (t *Tracer) Now(ctx context.Context) time.Time {
	if !t.Records(ctx) {
		return time.Time{}
	}
	return time.Now()
}

// Part records a part of a request that has ended. began is the zero time if the request is not
// recorded.
func (t *Tracer) Part(ctx context.Context, name string, began, ended time.Time) {
	if t == nil || began.IsZero() {
		return
	}
	_, span := t.tracer.Start(ctx, name, trace.WithTimestamp(began))
	span.End(trace.WithTimestamp(ended))
}

// PartUntilNow is Part for a part that ends now.
func (t *Tracer) PartUntilNow(ctx context.Context, name string, began time.Time) {
	if t == nil || began.IsZero() {
		return
	}
	t.Part(ctx, name, began, time.Now())
}

// incoming is the metadata of a call as a carrier of a trace's identity.
type incoming struct{ ctx context.Context }

// Get implements propagation.TextMapCarrier.
func (c incoming) Get(key string) string {
	if v := metadata.ValueFromIncomingContext(c.ctx, key); len(v) > 0 {
		return v[0]
	}
	return ""
}

// Set implements propagation.TextMapCarrier. No metadata is sent on.
func (incoming) Set(string, string) {}

// Keys implements propagation.TextMapCarrier.
func (c incoming) Keys() []string {
	md, _ := metadata.FromIncomingContext(c.ctx)
	keys := make([]string, 0, len(md))
	for k := range md {
		keys = append(keys, k)
	}
	return keys
}
