package ops

import (
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
)

// RegisterGRPC adds what gRPC's own tools ask a server: whether it serves (grpc.health.v1), and
// what (reflection). All services that are registered already, and the server as a whole, are said
// to be serving until Shutdown is called on what is returned: as in etcd that says that calls are
// answered, not that the cluster is well, which is /health's to say.
func RegisterGRPC(server reflection.GRPCServer) *health.Server {
	h := health.NewServer()
	for name := range server.GetServiceInfo() {
		h.SetServingStatus(name, healthpb.HealthCheckResponse_SERVING)
	}
	healthpb.RegisterHealthServer(server, h)
	reflection.Register(server)
	return h
}
