package main

import (
	"context"
	"fmt"
	"math"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// v3Conns are gRPC connections, each one TCP connection. They use the generated KV client directly,
// without clientv3's balancer, retries and wrapping, because CPU that the client uses is not
// available to the server on the same machine.
type v3Conns struct {
	conns []*grpc.ClientConn
	kvs   []pb.KVClient
}

// dialV3 opens the connections and returns when all of them are established, so that no handshake
// is measured.
func dialV3(ctx context.Context, s settings) (*v3Conns, error) {
	c := &v3Conns{}
	for i := range s.connections {
		to := s.endpoints[i%len(s.endpoints)]
		conn, err := newV3Conn(to, s.tls)
		if err != nil {
			c.close()
			return nil, err
		}
		c.conns = append(c.conns, conn)
		c.kvs = append(c.kvs, pb.NewKVClient(conn))
		conn.Connect()
	}
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	for i, conn := range c.conns {
		if err := awaitConnected(ctx, conn); err != nil {
			c.close()
			to := s.endpoints[i%len(s.endpoints)]
			return nil, fmt.Errorf("connect to %s://%s: %w: is an etcd serving there? name another with -endpoints", to.scheme, to.address, err)
		}
	}
	return c, nil
}

// keepAliveStreams opens n streams of renewals, distributed over the connections. They outlive ctx,
// and end with the connections.
func (c *v3Conns) keepAliveStreams(ctx context.Context, n int) (streams []pb.Lease_LeaseKeepAliveClient, err error) {
	for i := range n {
		stream, err := pb.NewLeaseClient(c.conns[i%len(c.conns)]).LeaseKeepAlive(context.WithoutCancel(ctx))
		if err != nil {
			return nil, fmt.Errorf("open stream %d: %w", i, err)
		}
		streams = append(streams, stream)
	}
	return streams, nil
}

// newV3Conn makes a connection that connects on first use and retries at once when refused: the
// connection is established the moment a starting server listens, not after gRPC's usual back-off
// of a second and more.
func newV3Conn(to endpoint, files tlsFiles, further ...grpc.DialOption) (*grpc.ClientConn, error) {
	security := insecure.NewCredentials()
	if to.scheme == "https" {
		config, err := files.load()
		if err != nil {
			return nil, err
		}
		security = credentials.NewTLS(config)
	}
	retry := backoff.Config{BaseDelay: 2 * time.Millisecond, Multiplier: 1, MaxDelay: 2 * time.Millisecond}
	options := append([]grpc.DialOption{
		grpc.WithTransportCredentials(security),
		grpc.WithDisableServiceConfig(),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: 20 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)),
	}, further...)
	conn, err := grpc.NewClient("passthrough:///"+to.address, options...)
	if err != nil {
		return nil, fmt.Errorf("make connection to %s: %w", to.address, err)
	}
	return conn, nil
}

// awaitConnected returns nil once conn is ready, and an error when the first attempt has failed:
// the server of a workload runs already.
func awaitConnected(ctx context.Context, conn *grpc.ClientConn) error {
	for {
		state := conn.GetState()
		switch state {
		case connectivity.Ready:
			return nil
		case connectivity.TransientFailure, connectivity.Shutdown:
			// The state has no cause; a request that does not wait for readiness returns it.
			_, err := pb.NewKVClient(conn).Range(ctx, &pb.RangeRequest{Key: []byte("/"), Serializable: true})
			if err == nil {
				return nil
			}
			return err
		case connectivity.Idle, connectivity.Connecting:
		}
		if !conn.WaitForStateChange(ctx, state) {
			return fmt.Errorf("wait for connection: %w", ctx.Err())
		}
	}
}

// kv returns the KV client of the connection that client i uses.
func (c *v3Conns) kv(i int) pb.KVClient { return c.kvs[i%len(c.kvs)] }

func (c *v3Conns) close() {
	for _, conn := range c.conns {
		_ = conn.Close() // its only error is that it was closed before
	}
}
