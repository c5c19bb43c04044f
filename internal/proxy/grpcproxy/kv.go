package grpcproxy

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"cairn/internal/proxy/rawgrpc"
)

// kvServer is the KV service.
type kvServer struct {
	pb.UnimplementedKVServer
	p *Proxy
}

// Range implements pb.KVServer.
func (s *kvServer) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if r.Serializable && r.Revision == 0 {
		return s.p.cache.read(ctx, r)
	}
	resp, err := s.p.readRange(ctx, r)
	if err == nil {
		s.p.seen.note(ctx, resp.Header)
	}
	return resp, err
}

// readRange reads from the cluster.
func (p *Proxy) readRange(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if p.plain {
		return p.direct.Range(rawgrpc.Outgoing(ctx), r)
	}
	resp, err := p.do(ctx, rangeOp(r))
	if err != nil {
		return nil, err
	}
	return (*pb.RangeResponse)(resp.Get()), nil
}

// RangeStream implements pb.KVServer. With a namespace or a mode the range is sent in one piece.
func (s *kvServer) RangeStream(r *pb.RangeRequest, client grpc.ServerStreamingServer[pb.RangeStreamResponse]) error {
	if s.p.plain {
		server, err := pb.NewKVClient(s.p.Client.ActiveConnection()).RangeStream(rawgrpc.Outgoing(client.Context()), r)
		if err != nil {
			return err
		}
		for {
			m, err := server.Recv()
			if err != nil {
				return endOf(err)
			}
			if err := client.Send(m); err != nil {
				return err
			}
		}
	}
	resp, err := s.p.readRange(client.Context(), r)
	if err != nil {
		return err
	}
	return client.Send(&pb.RangeStreamResponse{RangeResponse: resp})
}

// Put implements pb.KVServer.
func (s *kvServer) Put(ctx context.Context, r *pb.PutRequest) (resp *pb.PutResponse, err error) {
	if s.p.plain {
		resp, err = s.p.direct.Put(rawgrpc.Outgoing(ctx), r)
	} else {
		var done clientv3.OpResponse
		if done, err = s.p.do(ctx, putOp(r)); err == nil {
			resp = (*pb.PutResponse)(done.Put())
		}
	}
	s.p.cache.drop(string(r.Key), "")
	if err != nil {
		return nil, err
	}
	s.p.seen.note(ctx, resp.Header)
	return resp, nil
}

// DeleteRange implements pb.KVServer.
func (s *kvServer) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (resp *pb.DeleteRangeResponse, err error) {
	if s.p.plain {
		resp, err = s.p.direct.DeleteRange(rawgrpc.Outgoing(ctx), r)
	} else {
		var done clientv3.OpResponse
		if done, err = s.p.do(ctx, deleteOp(r)); err == nil {
			resp = (*pb.DeleteRangeResponse)(done.Del())
		}
	}
	s.p.cache.drop(string(r.Key), string(r.RangeEnd))
	if err != nil {
		return nil, err
	}
	s.p.seen.note(ctx, resp.Header)
	return resp, nil
}

// Txn implements pb.KVServer.
func (s *kvServer) Txn(ctx context.Context, r *pb.TxnRequest) (resp *pb.TxnResponse, err error) {
	if s.p.plain {
		resp, err = s.p.direct.Txn(rawgrpc.Outgoing(ctx), r)
	} else {
		var op clientv3.Op
		if op, err = txnOp(r); err != nil {
			return nil, err
		}
		var done clientv3.OpResponse
		if done, err = s.p.do(ctx, op); err == nil {
			resp = (*pb.TxnResponse)(done.Txn())
		}
	}
	s.p.cache.dropTxn(r)
	if err != nil {
		return nil, err
	}
	s.p.seen.note(ctx, resp.Header)
	return resp, nil
}

// Compact implements pb.KVServer.
func (s *kvServer) Compact(ctx context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	resp, err := s.p.direct.Compact(rawgrpc.Outgoing(ctx), r)
	if err != nil {
		return nil, err
	}
	s.p.seen.note(ctx, resp.Header)
	return resp, nil
}

// do makes an operation with the namespace and the modes. The client's libraries return errors
// without their code, which it restores.
func (p *Proxy) do(ctx context.Context, op clientv3.Op) (clientv3.OpResponse, error) {
	resp, err := p.kv.Do(rawgrpc.Outgoing(ctx), op)
	if e := (rpctypes.EtcdError{}); errors.As(err, &e) {
		err = status.Error(e.Code(), e.Error())
	}
	return resp, err
}

// rangeOp returns a read in the form of the client's libraries.
func rangeOp(r *pb.RangeRequest) clientv3.Op {
	opts := []clientv3.OpOption{
		clientv3.WithRev(r.Revision), clientv3.WithLimit(r.Limit),
		clientv3.WithMinModRev(r.MinModRevision), clientv3.WithMaxModRev(r.MaxModRevision),
		clientv3.WithMinCreateRev(r.MinCreateRevision), clientv3.WithMaxCreateRev(r.MaxCreateRevision),
	}
	if len(r.RangeEnd) > 0 {
		opts = append(opts, clientv3.WithRange(string(r.RangeEnd)))
	}
	if r.SortOrder != pb.RangeRequest_NONE {
		opts = append(opts, clientv3.WithSort(clientv3.SortTarget(r.SortTarget), clientv3.SortOrder(r.SortOrder)))
	}
	if r.Serializable {
		opts = append(opts, clientv3.WithSerializable())
	}
	if r.KeysOnly {
		opts = append(opts, clientv3.WithKeysOnly())
	}
	if r.CountOnly {
		opts = append(opts, clientv3.WithCountOnly())
	}
	return clientv3.OpGet(string(r.Key), opts...)
}

func putOp(r *pb.PutRequest) clientv3.Op {
	opts := []clientv3.OpOption{clientv3.WithLease(clientv3.LeaseID(r.Lease))}
	if r.PrevKv {
		opts = append(opts, clientv3.WithPrevKV())
	}
	if r.IgnoreValue {
		opts = append(opts, clientv3.WithIgnoreValue())
	}
	if r.IgnoreLease {
		opts = append(opts, clientv3.WithIgnoreLease())
	}
	return clientv3.OpPut(string(r.Key), string(r.Value), opts...)
}

func deleteOp(r *pb.DeleteRangeRequest) clientv3.Op {
	var opts []clientv3.OpOption
	if len(r.RangeEnd) > 0 {
		opts = append(opts, clientv3.WithRange(string(r.RangeEnd)))
	}
	if r.PrevKv {
		opts = append(opts, clientv3.WithPrevKV())
	}
	return clientv3.OpDelete(string(r.Key), opts...)
}

func txnOp(r *pb.TxnRequest) (op clientv3.Op, err error) {
	compares := make([]clientv3.Cmp, len(r.Compare))
	for i, c := range r.Compare {
		compares[i] = clientv3.FromCompare(c)
	}
	then, err := branchOps(r.Success)
	if err != nil {
		return op, err
	}
	otherwise, err := branchOps(r.Failure)
	if err != nil {
		return op, err
	}
	return clientv3.OpTxn(compares, then, otherwise), nil
}

func branchOps(requests []*pb.RequestOp) (ops []clientv3.Op, err error) {
	for _, r := range requests {
		switch r := r.Request.(type) {
		case *pb.RequestOp_RequestRange:
			ops = append(ops, rangeOp(r.RequestRange))
		case *pb.RequestOp_RequestPut:
			ops = append(ops, putOp(r.RequestPut))
		case *pb.RequestOp_RequestDeleteRange:
			ops = append(ops, deleteOp(r.RequestDeleteRange))
		case *pb.RequestOp_RequestTxn:
			op, err := txnOp(r.RequestTxn)
			if err != nil {
				return nil, err
			}
			ops = append(ops, op)
		default:
			// etcd's text for an empty operation
			return nil, status.Error(codes.InvalidArgument, "etcdserver: key not found")
		}
	}
	return ops, nil
}
