package v3rpc

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"cairn/internal/auth"
	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/machine"
	"cairn/internal/mvcc"
)

// leaseService is etcdserverpb.Lease.
var leaseService = grpc.ServiceDesc{
	ServiceName: etcdserverpb.Lease_ServiceDesc.ServiceName,
	HandlerType: (*any)(nil),
	Metadata:    etcdserverpb.Lease_ServiceDesc.Metadata,
	Methods: []grpc.MethodDesc{
		{MethodName: "LeaseGrant", Handler: call(etcdserverpb.Lease_LeaseGrant_FullMethodName, (*server).leaseGrant)},
		{MethodName: "LeaseRevoke", Handler: call(etcdserverpb.Lease_LeaseRevoke_FullMethodName, (*server).leaseRevoke)},
		{MethodName: "LeaseTimeToLive", Handler: call(etcdserverpb.Lease_LeaseTimeToLive_FullMethodName, (*server).leaseTimeToLive)},
		{MethodName: "LeaseLeases", Handler: call(etcdserverpb.Lease_LeaseLeases_FullMethodName, (*server).leaseLeases)},
	},
	Streams: []grpc.StreamDesc{
		{StreamName: "LeaseKeepAlive", Handler: leaseKeepAlive, ServerStreams: true, ClientStreams: true},
	},
}

func (s *server) leaseGrant(ctx context.Context, req *etcdserverpb.LeaseGrantRequest) (any, error) {
	if req.TTL > lease.TTLMax {
		return nil, rpctypes.ErrGRPCLeaseTTLTooLarge
	}
	if err := s.member.CheckSpace(); err != nil {
		return nil, err
	}
	c := lease.Command{Kind: lease.KindGrant, ID: kv.LeaseID(req.ID), TTL: max(req.TTL, s.cfg.LeaseTTLMin, 1)}
	for {
		if req.ID == 0 {
			c.ID = kv.LeaseID(rand.Int64()&^1 + 1) // positive: never 0, which is no lease
		}
		res, err := s.propose(ctx, machine.KindLease, c.Append(nil), anyUser)
		if req.ID == 0 && errors.Is(err, lease.ErrExists) {
			continue
		}
		if err != nil {
			return nil, err
		}
		s.meters.LeasesGranted.Inc()
		s.meters.LeaseTTLs.Observe(float64(res.Lease.TTL))
		h := s.header(res.Revision)
		return &etcdserverpb.LeaseGrantResponse{Header: h.proto(), ID: int64(res.Lease.ID), TTL: res.Lease.TTL}, nil
	}
}

func (s *server) leaseRevoke(ctx context.Context, req *etcdserverpb.LeaseRevokeRequest) (any, error) {
	if req.ID == 0 {
		return nil, mvcc.ErrLeaseNotFound
	}
	c := lease.Command{Kind: lease.KindRevoke, ID: kv.LeaseID(req.ID)}
	res, err := s.propose(ctx, machine.KindLease, c.Append(nil), anyUser)
	if err != nil {
		return nil, err
	}
	s.meters.LeasesRevoked.Inc()
	h := s.header(res.Revision)
	return &etcdserverpb.LeaseRevokeResponse{Header: h.proto()}, nil
}

// leaseKeepAlive answers every request of the stream, in order. A lease that is not
// there, or over, is answered with a TTL of 0, which clients know it by.
func leaseKeepAlive(srv any, stream grpc.ServerStream) error {
	s := srv.(*server)
	for {
		req := new(etcdserverpb.LeaseKeepAliveRequest)
		if err := stream.RecvMsg(req); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		resp, err := s.renew(stream.Context(), req.ID)
		if err != nil {
			return wireError(err)
		}
		if err := stream.SendMsg(resp); err != nil {
			return err
		}
	}
}

func (s *server) renew(ctx context.Context, id int64) (*etcdserverpb.LeaseKeepAliveResponse, error) {
	resp := &etcdserverpb.LeaseKeepAliveResponse{ID: id}
	revision := s.member.Keys().Head().Revision
	if id != 0 {
		c := lease.Command{Kind: lease.KindRenew, ID: kv.LeaseID(id)}
		res, err := s.propose(ctx, machine.KindLease, c.Append(nil), anyUser)
		switch {
		case errors.Is(err, mvcc.ErrLeaseNotFound):
			revision = s.member.Keys().Head().Revision
		case err != nil:
			return nil, err
		default:
			s.meters.LeasesRenewed.Inc()
			revision, resp.TTL = res.Revision, res.Lease.TTL
		}
	}
	resp.Header = s.header(revision).proto()
	return resp, nil
}

func (s *server) leaseTimeToLive(ctx context.Context, req *etcdserverpb.LeaseTimeToLiveRequest) (any, error) {
	if err := s.member.WaitLinearizable(ctx); err != nil {
		return nil, err
	}
	c, err := s.identify(ctx)
	if err != nil {
		return nil, err
	}
	reading, now := s.member.Keys().Reading(), s.member.ClusterTime()
	resp := &etcdserverpb.LeaseTimeToLiveResponse{Header: s.header(reading.Revision()).proto(), ID: req.ID, TTL: -1}
	l, ok, err := lease.Get(reading, kv.LeaseID(req.ID))
	if err != nil || !ok || l.Expired(now) {
		return resp, err
	}
	resp.TTL, resp.GrantedTTL = l.Left(now), l.TTL
	if req.Keys {
		resp.Keys, err = lease.Keys(reading, l.ID)
	}
	for _, key := range resp.Keys {
		if !c.who.CanRead(kv.KeyRange{Key: key}) {
			return nil, auth.Denied // as in etcd: all of the names, or none
		}
	}
	return resp, err
}

func (s *server) leaseLeases(ctx context.Context, _ *etcdserverpb.LeaseLeasesRequest) (any, error) {
	if err := s.member.WaitLinearizable(ctx); err != nil {
		return nil, err
	}
	if _, err := s.identify(ctx); err != nil {
		return nil, err
	}
	reading := s.member.Keys().Reading()
	leases, err := lease.List(reading)
	if err != nil {
		return nil, err
	}
	resp := &etcdserverpb.LeaseLeasesResponse{Header: s.header(reading.Revision()).proto()}
	for i := range leases {
		resp.Leases = append(resp.Leases, &etcdserverpb.LeaseStatus{ID: int64(leases[i].ID)})
	}
	return resp, nil
}
