package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// The workloads lease-grant and lease-renew have the leases firstLease to firstLease+keys-1, so
// that one process can renew what another one has granted.

var grantKind = workloadKind{
	name:    "lease-grant",
	summary: "grants of -keys leases with the IDs from -first-lease on",
	example: "bench lease-grant -keys 1000000 -ttl 600 -connections 20 -clients 200",
	defaults: func(s *settings) {
		s.connections, s.clients = 20, 200
	},
	flags: func(s *settings, flags *flag.FlagSet) {
		leaseFlags(s, flags)
		flags.Int64Var(&s.ttl, "ttl", s.ttl, "`seconds` that a lease lasts")
		flags.BoolVar(&s.together, "together", false, "lower the TTL of later grants, so that all leases end -ttl after the start")
	},
	finite: true,
	total:  func(s settings) int { return s.keys },
	open: func(ctx context.Context, s settings, _ *keyspace) (workload, error) {
		conns, err := dialV3(ctx, s)
		return &grantWorkload{v3Conns: conns, settings: s, end: time.Now().Add(time.Duration(s.ttl) * time.Second)}, err
	},
}

func leaseFlags(s *settings, flags *flag.FlagSet) {
	flags.Int64Var(&s.firstLease, "first-lease", s.firstLease, "`ID` of the first lease")
}

type grantWorkload struct {
	*v3Conns
	settings

	end time.Time // of all leases, with -together
}

func (w *grantWorkload) kinds() []string { return []string{"grant"} }

func (w *grantWorkload) client(i int) request {
	client := pb.NewLeaseClient(w.conns[i%len(w.conns)])
	return func(ctx context.Context, ticket uint64) (int, error) {
		message := pb.LeaseGrantRequest{ID: w.firstLease + int64(ticket), TTL: w.ttl}
		if w.together {
			message.TTL = int64(time.Until(w.end).Round(time.Second) / time.Second)
			if message.TTL < 1 {
				return 0, fmt.Errorf("the leases have ended before all were granted: want a -ttl of more than %d", w.ttl)
			}
		}
		response, err := client.LeaseGrant(ctx, &message)
		if err == nil && response.ID != message.ID {
			err = fmt.Errorf("granted lease %d, want %d", response.ID, message.ID)
		}
		return 0, err
	}
}

var renewKind = workloadKind{
	name:    "lease-renew",
	summary: "renewals of the leases that lease-grant has granted, each client -batch at a time through its stream",
	example: "bench lease-renew -keys 1000000 -connections 20 -clients 100",
	defaults: func(s *settings) {
		s.connections, s.clients, s.batch = 20, 100, 100
	},
	flags: func(s *settings, flags *flag.FlagSet) {
		leaseFlags(s, flags)
		flags.IntVar(&s.batch, "batch", s.batch, "renewals that a client sends before it reads the responses")
	},
	finite:         true,
	total:          func(s settings) int { return (s.keys + s.batch - 1) / s.batch },
	keysPerRequest: func(s settings) int { return min(s.batch, s.keys) },
	open: func(ctx context.Context, s settings, _ *keyspace) (workload, error) {
		conns, err := dialV3(ctx, s)
		if err != nil {
			return nil, err
		}
		w := &renewWorkload{v3Conns: conns, settings: s}
		if w.streams, err = conns.keepAliveStreams(ctx, s.clients); err != nil {
			w.close()
			return nil, err
		}
		return w, nil
	},
}

type renewWorkload struct {
	*v3Conns
	settings

	streams []pb.Lease_LeaseKeepAliveClient
}

func (w *renewWorkload) kinds() []string { return []string{"renewals"} }

func (w *renewWorkload) client(i int) request {
	stream := w.streams[i]
	return func(_ context.Context, ticket uint64) (int, error) {
		first := int(ticket) * w.batch % w.keys
		n := min(w.batch, w.keys-first)
		for j := range n {
			if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: w.firstLease + int64(first+j)}); err != nil {
				return 0, err
			}
		}
		lost := false
		for range n {
			response, err := stream.Recv()
			if err != nil {
				return 0, err
			}
			lost = lost || response.TTL <= 0
		}
		if lost {
			return 0, errLeaseLost
		}
		return 0, nil
	}
}
