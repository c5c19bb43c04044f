package v3rpc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
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
		{MethodName: "LeaseGrant", Handler: callOnce(etcdserverpb.Lease_LeaseGrant_FullMethodName, (*server).leaseGrant)},
		{MethodName: "LeaseRevoke", Handler: callOnce(etcdserverpb.Lease_LeaseRevoke_FullMethodName, (*server).leaseRevoke)},
		{MethodName: "LeaseTimeToLive", Handler: callOnce(etcdserverpb.Lease_LeaseTimeToLive_FullMethodName, (*server).leaseTimeToLive)},
		{MethodName: "LeaseLeases", Handler: callOnce(etcdserverpb.Lease_LeaseLeases_FullMethodName, (*server).leaseLeases)},
	},
	Streams: []grpc.StreamDesc{
		{StreamName: "LeaseKeepAlive", Handler: leaseKeepAlive, ServerStreams: true, ClientStreams: true},
	},
}

// KeepAliveMethod is the method that Renewals serve.
const KeepAliveMethod = etcdserverpb.Lease_LeaseKeepAlive_FullMethodName

func (s *server) leaseGrant(ctx context.Context, req *etcdserverpb.LeaseGrantRequest) (any, error) {
	if req.TTL > lease.TTLMax {
		return nil, rpctypes.ErrGRPCLeaseTTLTooLarge
	}
	if err := s.member.Space.CheckSpace(); err != nil {
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
	// For users the command itself checks the keys. A stranger's is proposed as a guest's, and a
	// guest may have permissions.
	permit := func(subject *auth.Subject) error {
		if !subject.Stranger() {
			return nil
		}
		return lackingKeys(s.member.Requests.Keys().Reading(), c.ID, subject.Unwritable())
	}
	res, err := s.propose(ctx, machine.KindLease, c.Append(nil), permit)
	if err != nil {
		return nil, err
	}
	s.meters.LeasesRevoked.Inc()
	h := s.header(res.Revision)
	return &etcdserverpb.LeaseRevokeResponse{Header: h.proto()}, nil
}

// renewalsMax is how many requests of a stream are served together.
const renewalsMax = 1024

// leaseKeepAlive serves Lease.LeaseKeepAlive: a response for each request of the stream, in order.
// A lease that does not exist or has expired gets a TTL of 0, by which clients know it. Most calls
// are served by Renewals instead.
func leaseKeepAlive(srv any, stream grpc.ServerStream) error {
	s := srv.(*server)
	for {
		if err := s.renewArrived(stream); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// renewArrived waits for a request, and serves it together with those that have arrived already.
func (s *server) renewArrived(stream grpc.ServerStream) error {
	req := new(renewalRequest)
	if err := stream.RecvMsg(req); err != nil {
		return err
	}
	ids := []kv.LeaseID{req.id}
	batch, _ := stream.(batchStream)
	for batch != nil && len(ids) < renewalsMax && batch.RecvBuffered(req) {
		ids = append(ids, req.id)
	}
	return s.renewAll(stream, batch, ids)
}

// renewAll renews leases and sends the responses.
func (s *server) renewAll(stream grpc.ServerStream, batch batchStream, ids []kv.LeaseID) error {
	ttls := make([]int64, len(ids))
	revision, err := s.renew(stream.Context(), ids, ttls)
	if err != nil {
		return WireError(err)
	}
	resp := &renewalResponse{header: s.header(revision)}
	for i, id := range ids {
		resp.id, resp.ttl = id, ttls[i]
		if batch != nil && i+1 < len(ids) {
			err = batch.SendMore(resp)
		} else {
			err = stream.SendMsg(resp)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// renew renews leases. As in etcd the user must have permission to write each of their keys:
// otherwise a user could keep the lock of another one that has failed forever.
func (s *server) renew(ctx context.Context, ids []kv.LeaseID, ttls []int64) (revision int64, err error) {
	err = s.guard().Do(ctx, s.bearer(), func(ctx context.Context, c *auth.Caller) (err error) {
		for _, id := range ids {
			if err := lackingKeys(s.member.Requests.Keys().Reading(), id, c.Subject.Unwritable()); err != nil {
				return err
			}
		}
		revision, err = s.member.Leases.RenewLeases(ctx, ids, ttls)
		if err == nil && !s.guard().Current(c) {
			return auth.OldRevision // the keys may be newer than the permission
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	for _, ttl := range ttls {
		if ttl > 0 {
			s.meters.LeasesRenewed.Inc()
		}
	}
	return revision, nil
}

// lackingKeys returns auth.Denied if a lease has a key in one of the gaps of a user's permissions.
// It seeks once for each gap, since a lease may have very many keys.
func lackingKeys(reading mvcc.Reading, id kv.LeaseID, gaps iter.Seq2[[]byte, []byte]) error {
	for from, to := range gaps {
		found, err := lease.HasKey(reading, id, from, to)
		if err != nil {
			return err
		}
		if found {
			return auth.Denied
		}
	}
	return nil
}

const (
	// leaseBytes is the memory of a lease in a response that is being made.
	leaseBytes = 160
	// leaseKeyBytes is the memory of a lease's key in a response, besides its bytes.
	leaseKeyBytes = 72
	// leasePause is after how many leases or keys a read looks whether it may go on.
	leasePause = 256
)

// step counts n bytes for the i-th lease or key of a response. Its error ends the read.
func (w *weight) step(i, n int) error {
	if !w.Gather(n) || i%leasePause == leasePause-1 {
		return w.Pause()
	}
	return nil
}

// leaseTimeToLive serves Lease.LeaseTimeToLive. Listing the keys requires permission to read all of
// them; the remaining time does not.
func (s *server) leaseTimeToLive(ctx context.Context, req *etcdserverpb.LeaseTimeToLiveRequest) (any, error) {
	if err := s.member.Requests.WaitLinearizable(ctx); err != nil {
		return nil, err
	}
	var resp *etcdserverpb.LeaseTimeToLiveResponse
	w := newWeight(ctx)
	defer w.end()
	w.walk.Brief() // the deadline may have to be asked for
	err := w.walk.Run(w, true, func() error {
		return s.readAs(ctx, anyUser, func(subject *auth.Subject) (err error) {
			reading, now := s.member.Requests.Keys().Reading(), s.member.Leases.ClusterTime()
			resp = &etcdserverpb.LeaseTimeToLiveResponse{Header: s.header(reading.Revision()).proto(), ID: req.ID, TTL: -1}
			l, ok, err := lease.Get(reading, kv.LeaseID(req.ID))
			if err != nil || !ok {
				return err
			}
			l.Deadline = s.member.Leases.Deadline(ctx, now, &l)
			if l.Expired(now) {
				return nil
			}
			resp.TTL, resp.GrantedTTL = l.Left(now), l.TTL
			if !req.Keys {
				return nil
			}
			if err := lackingKeys(reading, l.ID, subject.Unreadable()); err != nil {
				return err
			}
			resp.Keys, err = listLeaseKeys(reading, l.ID, w)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return w.hold(ctx, resp)
}

// listLeaseKeys returns the keys of a lease; none after an error, since the caller may wait then.
func listLeaseKeys(reading mvcc.Reading, id kv.LeaseID, w *weight) (keys [][]byte, err error) {
	err = lease.EachKey(reading, id, func(key []byte) error {
		keys = append(keys, bytes.Clone(key))
		return w.step(len(keys), len(key)+leaseKeyBytes)
	})
	if err != nil {
		return nil, err
	}
	return keys, nil
}

// leaseLeases serves Lease.LeaseLeases. As in etcd it requires permission to read every key of
// every lease.
func (s *server) leaseLeases(ctx context.Context, _ *etcdserverpb.LeaseLeasesRequest) (any, error) {
	if err := s.member.Requests.WaitLinearizable(ctx); err != nil {
		return nil, err
	}
	var resp *etcdserverpb.LeaseLeasesResponse
	w := newWeight(ctx)
	defer w.end()
	err := w.walk.Run(w, true, func() error {
		return s.readAs(ctx, anyUser, func(subject *auth.Subject) (err error) {
			reading := s.member.Requests.Keys().Reading()
			resp = &etcdserverpb.LeaseLeasesResponse{Header: s.header(reading.Revision()).proto()}
			resp.Leases, err = listLeases(reading, subject, w)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return w.hold(ctx, resp)
}

// listLeases returns all leases by deadline. The user needs read permission for the keys of each.
func listLeases(reading mvcc.Reading, subject *auth.Subject, w *weight) ([]*etcdserverpb.LeaseStatus, error) {
	var leases []lease.Lease
	err := lease.Each(reading, func(l *lease.Lease) error {
		if err := lackingKeys(reading, l.ID, subject.Unreadable()); err != nil {
			return err
		}
		leases = append(leases, *l)
		return w.step(len(leases), leaseBytes)
	})
	if err != nil {
		return nil, err
	}
	lease.SortByDeadline(leases)
	list := make([]*etcdserverpb.LeaseStatus, len(leases))
	for i := range leases {
		list[i] = &etcdserverpb.LeaseStatus{ID: int64(leases[i].ID)}
	}
	return list, nil
}
