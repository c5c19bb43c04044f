package v3rpc

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"cairn/internal/v3lockpb"
)

const (
	lockLock   = "/v3lockpb.Lock/Lock"
	lockUnlock = "/v3lockpb.Lock/Unlock"
)

// lockService is v3lockpb.Lock.
var lockService = grpc.ServiceDesc{
	ServiceName: "v3lockpb.Lock",
	HandlerType: (*any)(nil),
	Metadata:    "v3lock.proto",
	Methods: []grpc.MethodDesc{
		{MethodName: "Lock", Handler: call(lockLock, (*server).lock)},
		{MethodName: "Unlock", Handler: call(lockUnlock, (*server).unlock)},
	},
}

// errSessionExpired is etcd's error for a lease that ended while its owner waited for a lock.
var errSessionExpired = errors.New("mutex: session is expired")

// lock serves Lock.Lock: it returns when the caller holds the lock. A repeated call with the same
// lease has the same turn.
func (s *server) lock(ctx context.Context, req *v3lockpb.LockRequest) (any, error) {
	var t *turn
	var resp *etcdserverpb.TxnResponse
	free := false
	err := s.writeTurn(ctx, func() (err error) {
		if t, resp, err = s.takeTurn(ctx, req.Name, req.Lease, nil); err == nil {
			free = s.alone(t) // else the caller waits, and finds out again
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if free {
		return &v3lockpb.LockResponse{Header: resp.Header, Key: t.key}, nil
	}
	if err := s.await(ctx, t); err != nil {
		if resp.Succeeded { // otherwise another call with this lease waits, or holds the lock
			s.leave(ctx, t)
		}
		return nil, err
	}
	own, h, err := s.lookUp(ctx, &etcdserverpb.RangeRequest{Key: t.key})
	if err != nil {
		return nil, err
	}
	if len(own) == 0 || own[0].CreateRevision != t.created {
		return nil, errSessionExpired
	}
	return &v3lockpb.LockResponse{Header: h, Key: t.key}, nil
}

// unlock deletes the key of a lock.
func (s *server) unlock(ctx context.Context, req *v3lockpb.UnlockRequest) (any, error) {
	resp, err := s.deleteRange(ctx, &etcdserverpb.DeleteRangeRequest{Key: req.Key})
	if err != nil {
		return nil, err
	}
	return &v3lockpb.UnlockResponse{Header: resp.(*etcdserverpb.DeleteRangeResponse).Header}, nil
}
