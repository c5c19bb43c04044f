package jsonapi

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"cairn/test/harness"
)

// TestGRPCHealth sends the requests of gRPC's load balancers and Kubernetes' probes.
func TestGRPCHealth(t *testing.T) {
	server := harness.Start(t)
	client := healthpb.NewHealthClient(grpcClient(t, server))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	names := []string{""}
	if harness.Reference(t) == "" {
		names = append(names, "etcdserverpb.KV", "etcdserverpb.Watch", "v3lockpb.Lock")
	}
	for _, name := range names {
		if resp, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: name}); err != nil || resp.Status != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("%q: %v %v", name, resp, err)
		}
	}
	if _, err := client.Check(ctx, &healthpb.HealthCheckRequest{Service: "nothing"}); status.Code(err) != codes.NotFound {
		t.Errorf("a service that is not there: %v", err)
	}
	// As in etcd, these calls are counted like those of its own services.
	counted := `grpc_server_handled_total{grpc_code="NotFound",grpc_method="Check",grpc_service="grpc.health.v1.Health",grpc_type="unary"} 1`
	if _, text, _ := server.HTTP("GET", "/metrics", ""); !strings.Contains(text, counted+"\n") {
		t.Errorf("there is no %s", counted)
	}
	watch, err := client.Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := watch.Recv(); err != nil || resp.Status != healthpb.HealthCheckResponse_SERVING {
		t.Fatal(resp, err)
	}
}

// TestReflection sends the requests of grpcurl.
func TestReflection(t *testing.T) {
	if harness.Reference(t) != "" {
		t.Skip("etcd has no reflection")
	}
	server := harness.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	stream, err := reflectionpb.NewServerReflectionClient(grpcClient(t, server)).ServerReflectionInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(req *reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
		t.Helper()
		if err := stream.Send(req); err != nil {
			t.Fatal(err)
		}
		resp, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	var names []string
	for _, s := range ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}).GetListServicesResponse().GetService() {
		names = append(names, s.Name)
	}
	for _, s := range services() {
		name := string(s.FullName())
		if !slices.Contains(names, name) {
			t.Errorf("%s is not listed in %v", name, names)
		}
		file := ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: name}})
		if len(file.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
			t.Errorf("%s has no description: %v", name, file.GetErrorResponse())
		}
	}
}
