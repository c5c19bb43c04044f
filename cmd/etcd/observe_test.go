package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

func post(t *testing.T, url, body string) {
	t.Helper()
	resp, err := http.Post(url, "application/json", strings.NewReader(body)) //nolint:noctx // a test's own server
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", url, resp.Status)
	}
}

// TestSlowRequestsAreLogged takes every request for a slow one, and expects etcd's lines with
// etcd's fields, without values.
func TestSlowRequestsAreLogged(t *testing.T) {
	p := start(t, t.TempDir(), nil, anyPort("--warning-apply-duration=0", "--warning-unary-request-duration=0", "--log-format=json")...)
	url := p.await(`"listening for client requests".*"url":"([^"]+)"`)[1]
	p.await(`"ready to serve client requests"`)
	post(t, url+"/v3/kv/put", `{"key":"YWJj","value":"c2VjcmV0"}`)
	post(t, url+"/v3/kv/range", `{"key":"YWJj"}`)
	post(t, url+"/v3/auth/user/add", `{"name":"u","password":"hidden"}`)
	p.signal(syscall.SIGTERM)
	_, stderr := p.end()
	// A request is answered before its batch is logged: the order of the lines is not fixed.
	for _, c := range []struct {
		line string // a pattern
		want map[string]string
	}{
		{`"apply request took too long".*"prefix":""`, map[string]string{"level": "warn", "took": "s", "expected-duration": "0s", "request": "entries:1 "}},
		{`"request stats".*KV/Put`, map[string]string{"level": "warn", "time spent": "s", "response type": "/etcdserverpb.KV/Put", "request content": `key:"abc" value_size:6`}},
		{`"apply request took too long".*"prefix":"read-only range `, map[string]string{"request": `key:"abc"`, "response": "range_response_count:1"}},
		{`"request stats".*KV/Range`, map[string]string{"response type": "/etcdserverpb.KV/Range", "request content": `key:"abc"`}},
		{`"request stats".*UserAdd`, map[string]string{"request content": ""}},
	} {
		line := regexp.MustCompile(`(?m)^.*` + c.line + `.*$`).FindString(stderr)
		var got map[string]any
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Errorf("no line like %s: %v", c.line, err)
			continue
		}
		for key, value := range c.want {
			if text, ok := got[key].(string); !ok || !strings.Contains(text, value) {
				t.Errorf("%s is %v, want %q in\n%s", key, got[key], value, line)
			}
		}
	}
	if strings.Contains(stderr, "secret") || strings.Contains(stderr, "c2VjcmV0") || strings.Contains(stderr, "hidden") {
		t.Errorf("a value or a password is in the log:\n%s", stderr)
	}
}

// TestFastRequestsAreNotLogged uses the defaults with limits that no request reaches.
func TestFastRequestsAreNotLogged(t *testing.T) {
	p := start(t, t.TempDir(), nil, anyPort("--warning-apply-duration=1h", "--warning-unary-request-duration=1h")...)
	url := p.await(`listening for client requests url=(\S+)`)[1]
	p.await(`ready to serve client requests$`)
	post(t, url+"/v3/kv/put", `{"key":"YWJj","value":"c2VjcmV0"}`)
	p.signal(syscall.SIGTERM)
	if _, stderr := p.end(); strings.Contains(stderr, "took too long") || strings.Contains(stderr, "request stats") {
		t.Errorf("a request is logged:\n%s", stderr)
	}
}

// spans is a collector of OpenTelemetry.
type spans struct {
	collector.UnimplementedTraceServiceServer
	mu       sync.Mutex
	got      []*otlp.Span
	resource map[string]string
}

// Export implements collector.TraceServiceServer.
func (s *spans) Export(_ context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, of := range r.ResourceSpans {
		for _, a := range of.Resource.Attributes {
			s.resource[a.Key] = a.Value.GetStringValue()
		}
		for _, scope := range of.ScopeSpans {
			s.got = append(s.got, scope.Spans...)
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// TestTracing sends the spans of a put and of a range to a collector.
func TestTracing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, server := &spans{resource: map[string]string{}}, grpc.NewServer()
	collector.RegisterTraceServiceServer(server, s)
	go server.Serve(l) //nolint:errcheck // ends with the test
	defer server.Stop()
	p := start(t, t.TempDir(), nil, anyPort("--enable-distributed-tracing", "--distributed-tracing-address="+l.Addr().String(),
		"--distributed-tracing-sampling-rate=1000000", "--distributed-tracing-service-name=store", "--distributed-tracing-instance-id=one")...)
	url := p.await(`listening for client requests url=(\S+)`)[1]
	p.await(`ready to serve client requests$`)
	post(t, url+"/v3/kv/put", `{"key":"YWJj","value":"YQ=="}`)
	post(t, url+"/v3/kv/range", `{"key":"YWJj"}`)
	p.signal(syscall.SIGTERM) // the last spans are sent now
	if status, stderr := p.end(); status != 0 {
		t.Fatalf("status %d\n%s", status, stderr)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	parts := map[string][]string{}
	for _, root := range s.got {
		if len(root.ParentSpanId) > 0 {
			continue
		}
		for _, part := range s.got {
			if string(part.ParentSpanId) == string(root.SpanId) {
				if part.StartTimeUnixNano < root.StartTimeUnixNano || part.EndTimeUnixNano > root.EndTimeUnixNano || part.EndTimeUnixNano < part.StartTimeUnixNano {
					t.Errorf("%s is not within %s", part.Name, root.Name)
				}
				parts[root.Name] = append(parts[root.Name], part.Name)
			}
		}
		slices.Sort(parts[root.Name])
	}
	if got := parts["etcdserverpb.KV/Put"]; !slices.Equal(got, []string{"apply", "authenticate", "propose", "raft commit"}) {
		t.Errorf("a put has the parts %q", got)
	}
	if got := parts["etcdserverpb.KV/Range"]; !slices.Equal(got, []string{"authenticate", "range", "read index"}) {
		t.Errorf("a range has the parts %q", got)
	}
	if s.resource["service.name"] != "store" || s.resource["service.instance.id"] != "one" {
		t.Errorf("resource %v", s.resource)
	}
}

// TestUnreachableCollector sends spans to a port on which nothing listens: requests are served, and
// the member stops in time.
func TestUnreachableCollector(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	p := start(t, t.TempDir(), nil, anyPort("--enable-distributed-tracing", "--distributed-tracing-address="+l.Addr().String(), "--distributed-tracing-sampling-rate=1000000")...)
	url := p.await(`listening for client requests url=(\S+)`)[1]
	p.await(`ready to serve client requests$`)
	for range 100 {
		post(t, url+"/v3/kv/put", `{"key":"YWJj","value":"YQ=="}`)
	}
	p.signal(syscall.SIGTERM)
	if status, stderr := p.end(); status != 0 || !strings.Contains(stderr, "the last spans are lost") {
		t.Errorf("status %d\n%s", status, stderr)
	}
}
