package grpcproxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cairn/internal/proxy/rawgrpc"
)

// leaseServer is the Lease service.
type leaseServer struct {
	pb.UnimplementedLeaseServer
	p     *Proxy
	lease pb.LeaseClient
}

// LeaseGrant implements pb.LeaseServer.
func (s *leaseServer) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	resp, err := s.lease.LeaseGrant(rawgrpc.Outgoing(ctx), r)
	if err == nil {
		s.p.seen.note(ctx, resp.Header)
	}
	return resp, err
}

// LeaseRevoke implements pb.LeaseServer.
func (s *leaseServer) LeaseRevoke(ctx context.Context, r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	resp, err := s.lease.LeaseRevoke(rawgrpc.Outgoing(ctx), r)
	s.p.leases.forget(r.ID)
	s.p.cache.drop("\x00", "\x00") // its keys are unknown here
	if err == nil {
		s.p.seen.note(ctx, resp.Header)
	}
	return resp, err
}

// LeaseTimeToLive implements pb.LeaseServer. Keys of other namespaces are omitted.
func (s *leaseServer) LeaseTimeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	resp, err := s.lease.LeaseTimeToLive(rawgrpc.Outgoing(ctx), r)
	if err != nil {
		return nil, err
	}
	if s.p.Namespace != "" {
		var keys [][]byte
		for _, key := range resp.Keys {
			if own, ok := bytes.CutPrefix(key, []byte(s.p.Namespace)); ok {
				keys = append(keys, own)
			}
		}
		resp.Keys = keys
	}
	s.p.seen.note(ctx, resp.Header)
	return resp, nil
}

// LeaseLeases implements pb.LeaseServer.
func (s *leaseServer) LeaseLeases(ctx context.Context, r *pb.LeaseLeasesRequest) (*pb.LeaseLeasesResponse, error) {
	resp, err := s.lease.LeaseLeases(rawgrpc.Outgoing(ctx), r)
	if err == nil {
		s.p.seen.note(ctx, resp.Header)
	}
	return resp, err
}

// renewalsMax limits the concurrent renewals of one client.
const renewalsMax = 1024

// LeaseKeepAlive implements pb.LeaseServer.
func (s *leaseServer) LeaseKeepAlive(client pb.Lease_LeaseKeepAliveServer) error {
	ctx, cancel := context.WithCancelCause(client.Context())
	defer cancel(nil)
	var sending sync.Mutex
	var under sync.WaitGroup
	room := make(chan struct{}, renewalsMax)
	for {
		r, err := client.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				under.Wait()
				return context.Cause(ctx) // nil unless a renewal has failed
			}
			return err
		}
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		under.Add(1)
		s.p.leases.renew(r.ID, func(resp *pb.LeaseKeepAliveResponse, err error) {
			defer under.Done()
			defer func() { <-room }()
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				sending.Lock()
				err = client.Send(resp)
				sending.Unlock()
			}
			if err != nil {
				cancel(err)
			}
		})
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

const (
	// renewalFresh is the greatest age of a renewal whose result is returned to a further request;
	// it is less for short leases.
	renewalFresh = time.Second
	// renewalTries is the number of attempts to reach a member, in total longer than an election.
	renewalTries = 60
	renewalPause = 100 * time.Millisecond
)

// renewal is a renewal that has been sent, or is about to be.
type renewal struct {
	done []renewed // the requests that it serves
	// the lease was revoked after these requests; the requests after that must not get its result
	revoked bool
	later   []renewed // requests after the revocation
}

// renewed is called with the result of a renewal, or with the error that prevented it.
type renewed func(*pb.LeaseKeepAliveResponse, error)

// renewer renews leases over one stream to the cluster.
type renewer struct {
	ctx    context.Context
	client *clientv3.Client

	mu      sync.Mutex // guards the fields below
	waiting map[int64]*renewal
	fresh   map[int64]*freshRenewal
	queue   []int64 // not sent yet
	wake    chan struct{}
	running bool
}

// freshRenewal is the last renewal of a lease.
type freshRenewal struct {
	resp *pb.LeaseKeepAliveResponse
	at   time.Time
}

func newRenewer(ctx context.Context, client *clientv3.Client) *renewer {
	return &renewer{ctx: ctx, client: client, waiting: map[int64]*renewal{}, fresh: map[int64]*freshRenewal{}, wake: make(chan struct{}, 1)}
}

// renew renews a lease, together with concurrent requests for the same lease, and calls done, on
// any goroutine.
func (r *renewer) renew(id int64, done renewed) {
	r.mu.Lock()
	if f := r.fresh[id]; f != nil && f.resp.TTL > 1 {
		age := time.Since(f.at)
		if age < min(renewalFresh, time.Duration(f.resp.TTL)*time.Second/10) {
			r.mu.Unlock()
			// the minimum remaining TTL
			done(&pb.LeaseKeepAliveResponse{Header: f.resp.Header, ID: id, TTL: f.resp.TTL - int64(age/time.Second) - 1}, nil)
			return
		}
	}
	switch under := r.waiting[id]; {
	case under == nil:
		r.sendLocked(id, done)
	case under.revoked:
		under.later = append(under.later, done)
	default:
		under.done = append(under.done, done)
	}
	r.mu.Unlock()
}

// sendLocked queues a renewal for requests.
func (r *renewer) sendLocked(id int64, done ...renewed) {
	r.waiting[id] = &renewal{done: done}
	r.queue = append(r.queue, id)
	if !r.running {
		r.running = true
		go r.run()
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// forget is called when a lease was revoked: later requests must not get the result of a renewal
// before that.
func (r *renewer) forget(id int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.fresh, id)
	if under := r.waiting[id]; under != nil {
		under.revoked = true
	}
}

// run sends renewals over one stream after the other until no request waits.
func (r *renewer) run() {
	for tries := 1; ; tries++ {
		progress, err := r.stream()
		if progress {
			tries = 1
		}
		r.mu.Lock()
		if len(r.waiting) == 0 {
			r.running = false
			clear(r.fresh)
			r.mu.Unlock()
			return
		}
		if tries > renewalTries || r.ctx.Err() != nil {
			waiting := r.waiting
			r.waiting, r.queue, r.running = map[int64]*renewal{}, nil, false
			r.mu.Unlock()
			for _, under := range waiting {
				for _, done := range append(under.done, under.later...) {
					done(nil, err)
				}
			}
			return
		}
		// renewals without a response are sent again: renewing twice is harmless
		r.queue = r.queue[:0]
		for id := range r.waiting {
			r.queue = append(r.queue, id)
		}
		r.mu.Unlock()
		select {
		case <-time.After(renewalPause):
		case <-r.ctx.Done():
		}
	}
}

// idleStream is the time after which a stream without renewals is closed.
const idleStream = 30 * time.Second

// stream sends renewals until the stream breaks or has been idle. It reports whether any renewal
// succeeded.
func (r *renewer) stream() (answered bool, err error) {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	s, err := pb.NewLeaseClient(r.client.ActiveConnection()).LeaseKeepAlive(ctx)
	if err != nil {
		return false, err
	}
	var last error
	var progress bool // both are read after received is closed
	received := make(chan struct{})
	go func() {
		defer close(received)
		for {
			resp, err := s.Recv()
			if err != nil {
				last = err
				return
			}
			progress = true
			r.complete(resp)
		}
	}()
	idle := time.NewTicker(idleStream)
	defer idle.Stop()
	used := true
	for {
		r.mu.Lock()
		queue := r.queue
		r.queue = nil
		r.mu.Unlock()
		for _, id := range queue {
			used = true
			if s.Send(&pb.LeaseKeepAliveRequest{ID: id}) != nil {
				<-received // has the error
				return progress, last
			}
		}
		select {
		case <-r.wake:
		case <-received:
			return progress, last
		case <-ctx.Done():
			<-received
			return progress, status.FromContextError(ctx.Err()).Err()
		case <-idle.C:
			r.mu.Lock()
			unused := !used && len(r.waiting) == 0
			used = false
			r.mu.Unlock()
			if unused {
				cancel()
				<-received
				return progress, status.Error(codes.Unavailable, "no renewal was answered")
			}
		}
	}
}

// complete passes a response to the requests that it serves.
func (r *renewer) complete(resp *pb.LeaseKeepAliveResponse) {
	r.mu.Lock()
	under := r.waiting[resp.ID]
	delete(r.waiting, resp.ID)
	switch {
	case under == nil: // a renewal that was sent twice
	case len(under.later) > 0:
		r.sendLocked(resp.ID, under.later...)
	}
	if resp.TTL > 0 && under != nil && !under.revoked {
		r.fresh[resp.ID] = &freshRenewal{resp, time.Now()}
	} else {
		delete(r.fresh, resp.ID)
	}
	r.mu.Unlock()
	if under == nil {
		return
	}
	for _, done := range under.done {
		done(resp, nil)
	}
}
