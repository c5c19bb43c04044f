package main

import (
	"context"
	"errors"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

var keepAliveKind = workloadKind{
	name:    "keepalive",
	summary: "renewals of leases, each client with its own stream and lease",
	example: "bench keepalive -connections 100 -clients 1000 -pid $(pidof etcd)",
	open: func(ctx context.Context, s settings, _ *keyspace) (workload, error) {
		conns, err := dialV3(ctx, s)
		if err != nil {
			return nil, err
		}
		w := &keepAliveWorkload{v3Conns: conns}
		if w.streams, err = conns.keepAliveStreams(ctx, s.clients); err != nil {
			w.close()
			return nil, err
		}
		for i := range s.clients {
			if err := w.addLease(ctx, i); err != nil {
				w.close()
				return nil, err
			}
		}
		return w, nil
	},
}

// keepAliveTTL far exceeds the length of a run: a lease that expires during it would be an error.
const keepAliveTTL = 3600

var errLeaseLost = errors.New("the lease expired early")

type keepAliveWorkload struct {
	*v3Conns
	streams []pb.Lease_LeaseKeepAliveClient
	leases  []int64
}

func (w *keepAliveWorkload) addLease(ctx context.Context, i int) error {
	client := pb.NewLeaseClient(w.conns[i%len(w.conns)])
	lease, err := client.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: keepAliveTTL})
	if err != nil {
		return fmt.Errorf("grant lease %d: %w", i, err)
	}
	w.leases = append(w.leases, lease.ID)
	return nil
}

func (w *keepAliveWorkload) kinds() []string { return []string{"renewal"} }

func (w *keepAliveWorkload) client(i int) request {
	stream, message := w.streams[i], pb.LeaseKeepAliveRequest{ID: w.leases[i]}
	return func(context.Context, uint64) (int, error) {
		if err := stream.Send(&message); err != nil {
			return 0, err
		}
		response, err := stream.Recv()
		if err == nil && response.TTL <= 0 {
			err = errLeaseLost
		}
		return 0, err
	}
}
