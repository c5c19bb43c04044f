package v3rpc

import (
	"context"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
)

// A hash reads the whole store, so a member computes one at a time and further requests wait.

// hash serves Maintenance.Hash.
func (s *server) hash(ctx context.Context, _ *etcdserverpb.HashRequest) (any, error) {
	done, err := s.beginHash(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	began := time.Now()
	sum, revision, err := s.member.State.HashState(ctx)
	if err == nil {
		err = s.checkRoot(ctx) // the hash took long
	}
	if err != nil {
		return nil, err
	}
	s.meters.Hash.Observe(time.Since(began).Seconds())
	return &etcdserverpb.HashResponse{Header: s.header(revision).proto(), Hash: sum}, nil
}

// hashKV serves Maintenance.HashKV.
func (s *server) hashKV(ctx context.Context, req *etcdserverpb.HashKVRequest) (any, error) {
	done, err := s.beginHash(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	began := time.Now()
	h, err := s.member.State.HashKV(ctx, req.Revision)
	if err == nil {
		err = s.checkRoot(ctx) // the hash took long
	}
	if err != nil {
		return nil, err
	}
	s.meters.HashRevision.Observe(time.Since(began).Seconds())
	resp := &etcdserverpb.HashKVResponse{
		Header: s.header(s.member.Requests.Keys().Head().Revision).proto(), Hash: h.Sum, HashRevision: h.Revision, CompactRevision: h.CompactRevision,
	}
	if h.CompactRevision == 0 {
		resp.CompactRevision = -1 // as etcd reports that nothing has been compacted
	}
	return resp, nil
}

// beginHash waits until no other hash is computed. The caller must call done.
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
