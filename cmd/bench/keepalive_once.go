package main

import (
	"context"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

var keepAliveOnceKind = workloadKind{
	name:    "keepalive-once",
	summary: "renewals of leases, each with a stream of its own, as KeepAliveOnce of etcd's client makes them",
	example: "bench keepalive-once -connections 100 -clients 1000 -pid $(pidof etcd)",
	open: func(ctx context.Context, s settings, _ *keyspace) (workload, error) {
		conns, err := dialV3(ctx, s)
		if err != nil {
			return nil, err
		}
		w := &keepAliveOnceWorkload{v3Conns: conns}
		if w.leases, err = grantLeases(ctx, conns, s.clients, keepAliveTTL); err != nil {
			w.close()
			return nil, err
		}
		return w, nil
	},
}

type keepAliveOnceWorkload struct {
	*v3Conns
	leases []int64
}

func (w *keepAliveOnceWorkload) kinds() []string { return []string{"renewal"} }

func (w *keepAliveOnceWorkload) client(i int) request {
	client, message := pb.NewLeaseClient(w.conns[i%len(w.conns)]), pb.LeaseKeepAliveRequest{ID: w.leases[i]}
	return func(ctx context.Context, _ uint64) (int, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stream, err := client.LeaseKeepAlive(ctx)
		if err != nil {
			return 0, err
		}
		return 0, renewOn(stream, &message)
	}
}

func renewOn(stream pb.Lease_LeaseKeepAliveClient, message *pb.LeaseKeepAliveRequest) error {
	if err := stream.Send(message); err != nil {
		return err
	}
	response, err := stream.Recv()
	if err == nil && response.TTL <= 0 {
		err = errLeaseLost
	}
	return err
}

// The leases of a fleet: as many as keys, of 10 s, of which a client renews its share through one
// stream every 3 s. So a lease that is lost within a run is noticed.
const (
	fleetTTL      = 10
	fleetInterval = 3 * time.Second
	fleetLeases   = 100_000
	fleetGrants   = 50 // before each renewal of the first ones
)

var leaseFleetKind = workloadKind{
	name:    "lease-fleet",
	summary: "many leases of 10 s, all renewed every 3 s; a request renews a client's share of them",
	example: "bench lease-fleet -keys 100000 -clients 100 -connections 100 -duration 60s -pid $(pidof etcd)",
	defaults: func(s *settings) {
		s.keys, s.clients, s.connections = fleetLeases, 100, 100
	},
	keysPerRequest: func(s settings) int { return s.keys / s.clients },
	open: func(ctx context.Context, s settings, _ *keyspace) (workload, error) {
		conns, err := dialV3(ctx, s)
		if err != nil {
			return nil, err
		}
		w := &leaseFleet{v3Conns: conns, perClient: s.keys / s.clients}
		if w.streams, err = conns.keepAliveStreams(ctx, s.clients); err != nil {
			w.close()
			return nil, err
		}
		return w, nil
	},
}

type leaseFleet struct {
	*v3Conns
	perClient int
	streams   []pb.Lease_LeaseKeepAliveClient
}

func (w *leaseFleet) kinds() []string { return []string{"fleet"} }

func (w *leaseFleet) client(i int) request {
	c := fleetClient{leaseFleet: w, stream: w.streams[i], next: time.Now()}
	return func(ctx context.Context, _ uint64) (int, error) {
		if len(c.leases) < w.perClient {
			// Few at a time: on a busy machine, the first must not expire before they are renewed.
			if err := c.grant(ctx, min(fleetGrants, w.perClient-len(c.leases))); err != nil {
				return 0, err
			}
			// The clients' passes are spread over the interval.
			c.next = time.Now().Add(fleetInterval * time.Duration(i+1) / time.Duration(len(w.streams)))
			return 0, c.renew()
		}
		sleep(ctx, time.Until(c.next))
		c.next = c.next.Add(fleetInterval)
		return 0, c.renew()
	}
}

// fleetClient is one client of a fleet.
type fleetClient struct {
	*leaseFleet
	stream pb.Lease_LeaseKeepAliveClient
	next   time.Time // of the next pass
	leases []fleetLease
}

// fleetLease is a lease, and when the request of its last renewal, or of its grant, was sent.
type fleetLease struct {
	id   int64
	sent time.Time
}

func (c *fleetClient) grant(ctx context.Context, n int) error {
	sent := time.Now()
	granted, err := grantLeases(ctx, c.v3Conns, n, fleetTTL)
	for _, id := range granted {
		c.leases = append(c.leases, fleetLease{id, sent})
	}
	return err
}

// renew renews all leases through the stream, without waiting for each response. A lease that has
// expired although its TTL was not over is an error; one that this client has renewed too late is
// dropped, and replaced later.
func (c *fleetClient) renew() error {
	sent := make(chan error, 1)
	from := time.Now()
	go func() {
		for i := range c.leases {
			if err := c.stream.Send(&pb.LeaseKeepAliveRequest{ID: c.leases[i].id}); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	early, kept := 0, c.leases[:0:0]
	for i := range c.leases {
		l := c.leases[i]
		response, err := c.stream.Recv()
		if err != nil {
			return err
		}
		if response.TTL > 0 {
			kept = append(kept, fleetLease{l.id, from})
		} else if time.Since(l.sent) < fleetTTL*time.Second {
			early++
		}
	}
	err := <-sent
	if c.leases = kept; early > 0 && err == nil {
		err = fmt.Errorf("%w: %d of them", errLeaseLost, early)
	}
	return err
}

// grantLeases grants leases, one after the other.
func grantLeases(ctx context.Context, conns *v3Conns, n int, ttl int64) (leases []int64, err error) {
	for i := range n {
		lease, err := pb.NewLeaseClient(conns.conns[i%len(conns.conns)]).LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: ttl})
		if err != nil {
			return nil, fmt.Errorf("grant lease %d: %w", i, err)
		}
		leases = append(leases, lease.ID)
	}
	return leases, nil
}
