package tracing

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func record(samplesPerMillion int) (*Tracer, *tracetest.InMemoryExporter) {
	spans := tracetest.NewInMemoryExporter()
	return newTracer(sdktrace.NewSimpleSpanProcessor(spans), samplesPerMillion, nil), spans
}

// serve is a call with one part.
func serve(ctx context.Context, t *Tracer, err error) {
	ctx, end := t.Request(ctx, "/etcdserverpb.KV/Put")
	began := t.Now(ctx)
	t.PartUntilNow(ctx, "propose", began)
	if end != nil {
		end(err)
	}
}

func TestSpans(t *testing.T) {
	tracer, spans := record(million)
	serve(t.Context(), tracer, status.Error(codes.NotFound, "no lease"))
	got := spans.GetSpans()
	if len(got) != 2 || got[0].Name != "propose" || got[1].Name != "etcdserverpb.KV/Put" {
		t.Fatalf("spans %+v", got)
	}
	if got[0].Parent.SpanID() != got[1].SpanContext.SpanID() {
		t.Error("the part is not below the request")
	}
	attributes := map[string]string{}
	for _, a := range got[1].Attributes {
		attributes[string(a.Key)] = a.Value.String()
	}
	if attributes["rpc.service"] != "etcdserverpb.KV" || attributes["rpc.method"] != "Put" || attributes["rpc.grpc.status_code"] != "5" || got[1].Status.Description != "no lease" {
		t.Errorf("attributes %v, status %+v", attributes, got[1].Status)
	}
}

// TestSample: without a sample, only requests that their clients record are recorded.
func TestSample(t *testing.T) {
	tracer, spans := record(0)
	serve(t.Context(), tracer, nil)
	if got := spans.GetSpans(); len(got) != 0 {
		t.Errorf("spans %+v", got)
	}
	serve(metadata.NewIncomingContext(t.Context(), metadata.Pairs("traceparent", parent)), tracer, nil)
	got := spans.GetSpans()
	if len(got) != 2 || got[1].SpanContext.TraceID().String() != parent[3:35] || got[1].Parent.SpanID().String() != parent[36:52] {
		t.Errorf("spans %+v", got)
	}
}

// TestOffIsFree: disabled tracing allocates nothing.
func TestOffIsFree(t *testing.T) {
	var off *Tracer
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("traceparent", parent))
	if n := testing.AllocsPerRun(100, func() { serve(ctx, off, nil) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if err := off.Close(ctx); err != nil {
		t.Error(err)
	}
}

// TestUnrecordedPartsAreFree: the parts of a request that is not in the sample allocate nothing.
func TestUnrecordedPartsAreFree(t *testing.T) {
	tracer, _ := record(0)
	ctx, end := tracer.Request(t.Context(), "/etcdserverpb.KV/Put")
	defer end(nil)
	if n := testing.AllocsPerRun(100, func() { tracer.PartUntilNow(ctx, "propose", tracer.Now(ctx)) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkOff(b *testing.B) {
	var off *Tracer
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		serve(ctx, off, nil)
	}
}

func BenchmarkRecorded(b *testing.B) {
	provider := newTracer(sdktrace.NewBatchSpanProcessor(tracetest.NewNoopExporter(), sdktrace.WithBatchTimeout(time.Second)), million, nil)
	defer func() { _ = provider.Close(b.Context()) }()
	b.ReportAllocs()
	for b.Loop() {
		serve(b.Context(), provider, nil)
	}
}

// TestErrorsAreLoggedOnceAMinute: a collector that is down for long does not fill the log.
func TestErrorsAreLoggedOnceAMinute(t *testing.T) {
	var log bytes.Buffer
	now := time.Now()
	report := errorLog(slog.New(slog.NewTextHandler(&log, nil)), "c:1", func() time.Time { return now })
	for range 12 { // one each 10 s
		report(errors.New("refused"))
		now = now.Add(10 * time.Second)
	}
	if n := strings.Count(log.String(), "collector=c:1 error=refused"); n != 2 || !strings.Contains(log.String(), "not_logged=5") {
		t.Errorf("%d lines:\n%s", n, &log)
	}
}
