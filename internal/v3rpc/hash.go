package v3rpc

import (
	"context"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

// A hash reads all of the store, so that the member makes one at a time: whoever asks for many
// waits for their own.

// hash answers Maintenance.Hash.
func (s *server) hash(ctx context.Context, _ *etcdserverpb.HashRequest) (any, error) {
	done, err := s.beginHash(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	began := time.Now()
	sum, revision, err := s.member.State.HashState(ctx)
	if err == nil {
		err = s.checkRoot(ctx) // it took long
	}
	if err != nil {
		return nil, err
	}
	s.meters.Hash.Observe(time.Since(began).Seconds())
	return &etcdserverpb.HashResponse{Header: s.header(revision).proto(), Hash: sum}, nil
}

// hashKV answers Maintenance.HashKV.
func (s *server) hashKV(ctx context.Context, req *etcdserverpb.HashKVRequest) (any, error) {
	done, err := s.beginHash(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	began := time.Now()
	h, err := s.member.State.HashKV(ctx, req.Revision)
	if err == nil {
		err = s.checkRoot(ctx) // it took long
	}
	if err != nil {
		return nil, err
	}
	s.meters.HashRevision.Observe(time.Since(began).Seconds())
	resp := &etcdserverpb.HashKVResponse{
		Header: s.header(s.member.Requests.Keys().Head().Revision).proto(), Hash: h.Sum, HashRevision: h.Revision, CompactRevision: h.CompactRevision,
	}
	if h.CompactRevision == 0 {
		resp.CompactRevision = -1 // etcd's way to say that nothing has been compacted
	}
	return resp, nil
}

// beginHash waits for its turn; done ends it.
func (s *server) beginHash(ctx context.Context) (done func(), err error) {
	if err := s.checkRoot(ctx); err != nil {
		return nil, err
	}
	select {
	case s.hashing <- struct{}{}:
		return func() { <-s.hashing }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
