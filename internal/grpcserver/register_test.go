package grpcserver_test

import (
	"testing"

	"cairn/test/grpctest"

	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/reflection"
	refpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
)

func TestHealthAndReflection(t *testing.T) {
	s := grpctest.New(grpctest.Options{})
	pb.RegisterTestServiceServer(s, &grpctest.Service{})
	h := health.NewServer()
	healthpb.RegisterHealthServer(s, h)
	reflection.Register(s)
	cc := grpctest.Dial(t, s.Listen(t))
	ctx := grpctest.Context(t)
	watch, err := healthpb.NewHealthClient(cc).Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := watch.Recv(); err != nil || m.Status != healthpb.HealthCheckResponse_SERVING {
		t.Fatal(m, err)
	}
	h.Shutdown()
	if m, err := watch.Recv(); err != nil || m.Status != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Fatal(m, err)
	}
	st, err := refpb.NewServerReflectionClient(cc).ServerReflectionInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Send(&refpb.ServerReflectionRequest{MessageRequest: &refpb.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	m, err := st.Recv()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, s := range m.GetListServicesResponse().Service {
		names[s.Name] = true
	}
	if !names["grpc.testing.TestService"] || !names["grpc.health.v1.Health"] {
		t.Fatalf("services %v", names)
	}
}

func TestRegisterTwicePanics(t *testing.T) {
	s := grpctest.New(grpctest.Options{})
	pb.RegisterTestServiceServer(s, &grpctest.Service{})
	defer func() {
		if recover() == nil {
			t.Fatal("no panic")
		}
	}()
	pb.RegisterTestServiceServer(s, &grpctest.Service{})
}
