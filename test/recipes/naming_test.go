package recipes

import (
	"context"
	"net"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.etcd.io/etcd/client/v3/naming/resolver"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"cairn/test/harness"
)

// serve starts a gRPC server, which clients find by the name of its service, and returns its
// address.
func serve(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	go func() { _ = s.Serve(listener) }() // until Stop
	t.Cleanup(s.Stop)
	return listener.Addr().String()
}

// TestNaming finds servers by their entries in etcd, and follows changes of the entries.
func TestNaming(t *testing.T) {
	f := start(t)
	m, err := endpoints.NewManager(f.Client, "service")
	f.must("manager", err)
	changes, err := m.NewWatchChannel(f.ctx)
	f.must("watch", err)
	one, two := serve(t), serve(t)
	f.must("add", m.AddEndpoint(f.ctx, "service/one", endpoints.Endpoint{Addr: one, Metadata: "m"}))
	if update := (<-changes)[0]; update.Op != endpoints.Add || update.Key != "service/one" || update.Endpoint.Addr != one {
		t.Errorf("received %+v", update)
	}

	builder, err := resolver.NewBuilder(f.Client)
	f.must("resolver", err)
	conn, err := grpc.NewClient("etcd:///service", grpc.WithResolvers(builder), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin":{}}]}`))
	f.must("dial", err)
	defer conn.Close() //nolint:errcheck // nothing is left to do
	// called returns the name of the server that handled a call.
	called := func() string {
		t.Helper()
		var answered peer.Peer
		ctx, cancel := context.WithTimeout(f.ctx, patience)
		defer cancel()
		if _, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.Peer(&answered), grpc.WaitForReady(true)); err != nil {
			t.Fatal(err)
		}
		return answered.Addr.String()
	}
	// until repeats calls until the wanted server handles them.
	until := func(want string) {
		t.Helper()
		harness.Await(t, "a call of "+want, func() bool { return called() == want })
	}
	if got := called(); got != one {
		t.Errorf("%s handles calls, want %s", got, one)
	}

	lease, err := f.Grant(f.ctx, 60)
	f.must("grant", err)
	f.must("add", m.AddEndpoint(f.ctx, "service/two", endpoints.Endpoint{Addr: two}, clientv3.WithLease(lease.ID)))
	until(two)
	until(one)
	all, err := m.List(f.ctx)
	f.must("list", err)
	if len(all) != 2 || all["service/one"].Metadata != "m" || all["service/two"].Addr != two {
		t.Errorf("listed %v", all)
	}
	f.must("delete", m.DeleteEndpoint(f.ctx, "service/one"))
	for inRow := 0; inRow < 3; { // the first few may still go to the removed server
		if inRow++; called() != two {
			inRow = 0
		}
	}
	_, err = f.Revoke(f.ctx, lease.ID) // as if a server had crashed
	f.must("revoke", err)
	if all, err := m.List(f.ctx); err != nil || len(all) != 0 {
		t.Errorf("listed %v, %v", all, err)
	}
}
