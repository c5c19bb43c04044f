package ops

import (
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
)

// RegisterGRPC adds the services of gRPC's own tools: health (grpc.health.v1) and reflection. All
// services registered so far, and the server as a whole, have the status serving until Shutdown is
// called on the returned server: as in etcd, it means that calls are accepted; /health reports the
// health of the cluster.
func RegisterGRPC(server reflection.GRPCServer) *health.Server {
	h := health.NewServer()
	for name := range server.GetServiceInfo() {
		h.SetServingStatus(name, healthpb.HealthCheckResponse_SERVING)
	}
	healthpb.RegisterHealthServer(server, h)
	reflection.Register(server)
	return h
}
