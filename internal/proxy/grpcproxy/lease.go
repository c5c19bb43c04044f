package grpcproxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

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
	k := &keepAlive{ctx: ctx, fail: cancel, client: client, room: make(chan struct{}, renewalsMax)}
	received := make(chan error, 1)
	go func() { received <- k.receive(s.p.leases.of(ctx)) }()
	select {
	case err := <-received:
		if !errors.Is(err, io.EOF) {
			cancel(err)
		}
	case <-ctx.Done():
	}
	// the call must not be used after this function has returned
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ended = true
	return context.Cause(ctx) // nil unless a renewal has failed
}

// keepAlive is a LeaseKeepAlive call of a client.
type keepAlive struct {
	ctx    context.Context
	fail   context.CancelCauseFunc // ends the call
	client pb.Lease_LeaseKeepAliveServer
	room   chan struct{} // has a value for each renewal in progress
	under  sync.WaitGroup

	mu    sync.Mutex // guards sending, and ended
	ended bool
}

// receive renews leases at the client's requests until the client sends no more, and waits for the
// results.
func (k *keepAlive) receive(renewals *renewer) error {
	for {
		r, err := k.client.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				k.under.Wait()
			}
			return err
		}
		select {
		case k.room <- struct{}{}:
		case <-k.ctx.Done():
			return context.Cause(k.ctx)
		}
		k.under.Add(1)
		renewals.renew(r.ID, k.renewed)
	}
}

// renewed sends the result of a renewal.
func (k *keepAlive) renewed(resp *pb.LeaseKeepAliveResponse, err error) {
	defer k.under.Done()
	defer func() { <-k.room }()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended {
		return
	}
	if err == nil {
		err = k.client.Send(resp)
	}
	if err != nil {
		k.fail(err)
	}
}
