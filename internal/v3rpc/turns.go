package v3rpc

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"cairn/internal/kv"
	"cairn/internal/watch"
)

// Locks and elections are queues of keys: whoever wants a turn puts a key of their own below the
// name, attached to a lease, and waits until every key that was created before theirs is gone. It
// is etcd's recipe, key for key, so that those who use these services and those whose client does
// it by itself stand in one queue. Everything goes through the KV service's own methods, on behalf
// of the caller.

// turnTTL is the TTL, in seconds, of a lease that is granted for who brings none.
const turnTTL = 60

// leaveTimeout bounds how long a caller who has gone is cleaned up after; the lease does it
// otherwise.
const leaveTimeout = 5 * time.Second

// turn is a key in a queue.
type turn struct {
	prefix []byte // of all keys of the queue
	key    []byte
	lease  int64
	// created is the create revision of the key: its place in the queue.
	created int64
}

// queueOf returns what the keys of a queue begin with.
func queueOf(name []byte) []byte { return append(bytes.Clone(name), '/') }

// newTurn returns the turn of a lease, not yet taken. Without a lease one is granted.
func (s *server) newTurn(ctx context.Context, name []byte, lease int64) (*turn, error) {
	if lease == 0 {
		resp, err := s.leaseGrant(ctx, &etcdserverpb.LeaseGrantRequest{TTL: turnTTL})
		if err != nil {
			return nil, err
		}
		lease = resp.(*etcdserverpb.LeaseGrantResponse).ID
	}
	prefix := queueOf(name)
	return &turn{prefix: prefix, key: fmt.Appendf(bytes.Clone(prefix), "%x", lease), lease: lease}, nil
}

// await returns when all keys of the queue that were created before the turn are gone.
func (s *server) await(ctx context.Context, t *turn) error {
	for {
		last := prefixRange(t.prefix)
		last.SortTarget, last.SortOrder, last.Limit = etcdserverpb.RangeRequest_CREATE, etcdserverpb.RangeRequest_DESCEND, 1
		last.MaxCreateRevision = t.created - 1
		before, h, err := s.lookUp(ctx, last)
		if err != nil || len(before) == 0 {
			return err
		}
		if err := s.awaitDelete(ctx, before[0].Key, h.Revision); err != nil {
			return err
		}
	}
}

// awaitDelete returns when a key that was there at a revision has been deleted since; or, for all
// that is known, may have been.
func (s *server) awaitDelete(ctx context.Context, key []byte, revision int64) error {
	f := s.follow(kv.KeyRange{Key: key}, revision+1)
	defer f.close()
	for {
		events, err := f.next(ctx)
		if err != nil || events == nil {
			return err
		}
		for _, e := range events {
			if e.Type == kv.EventDelete {
				return nil
			}
		}
	}
}

// leave deletes the key of a turn that is still the one that was taken. Whoever it was for may have
// gone, so that this does not end with them.
func (s *server) leave(ctx context.Context, t *turn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	_, _ = s.transact(ctx, &etcdserverpb.TxnRequest{ // the lease takes the key in the end
		Compare: []*etcdserverpb.Compare{createdAt(t.key, t.created)},
		Success: []*etcdserverpb.RequestOp{deleteKey(t.key)},
	})
}

// following is what happens to some keys from a revision on.
type following struct {
	s  *server
	in *watch.Stream
}

func (s *server) follow(keys kv.KeyRange, from int64) *following {
	f := &following{s: s, in: s.member.Watches.Watches().NewStream()}
	f.in.Watch(watch.Spec{Range: keys, Start: from, Wants: wants(nil)})
	return f
}

func (f *following) close() { f.in.Close() }

// next waits for events. It returns none when history does not have them any more: then the keys
// themselves are to be looked at.
func (f *following) next(ctx context.Context) ([]*watch.Event, error) {
	for {
		select {
		case <-f.in.Wake():
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-f.s.member.Watches.Watches().Closed():
			return nil, watch.ErrClosed
		}
		told, err := f.in.Take()
		if err != nil {
			return nil, err
		}
		if len(told) > 0 {
			return told[0].Events, nil // there is one watcher
		}
	}
}

// transact runs a transaction on behalf of the caller.
func (s *server) transact(ctx context.Context, req *etcdserverpb.TxnRequest) (*etcdserverpb.TxnResponse, error) {
	resp, err := s.txn(ctx, req)
	if err != nil {
		return nil, err
	}
	return resp.(*etcdserverpb.TxnResponse), nil
}

// lookUp reads a range, linearizably.
func (s *server) lookUp(ctx context.Context, req *etcdserverpb.RangeRequest) ([]*mvccpb.KeyValue, *etcdserverpb.ResponseHeader, error) {
	resp, err := s.transact(ctx, &etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{getRange(req)}})
	if err != nil {
		return nil, nil, err
	}
	return resp.Responses[0].GetResponseRange().Kvs, resp.Header, nil
}

// prefixRange asks for all keys with a prefix that ends with a slash.
func prefixRange(prefix []byte) *etcdserverpb.RangeRequest {
	end := bytes.Clone(prefix)
	end[len(end)-1]++
	return &etcdserverpb.RangeRequest{Key: prefix, RangeEnd: end}
}

// ownerOf asks for the key of a queue that was created first.
func ownerOf(prefix []byte) *etcdserverpb.RangeRequest {
	first := prefixRange(prefix)
	first.SortTarget, first.SortOrder, first.Limit = etcdserverpb.RangeRequest_CREATE, etcdserverpb.RangeRequest_ASCEND, 1
	return first
}

func createdAt(key []byte, revision int64) *etcdserverpb.Compare {
	return &etcdserverpb.Compare{
		Key: key, Target: etcdserverpb.Compare_CREATE, Result: etcdserverpb.Compare_EQUAL,
		TargetUnion: &etcdserverpb.Compare_CreateRevision{CreateRevision: revision},
	}
}

func getRange(req *etcdserverpb.RangeRequest) *etcdserverpb.RequestOp {
	return &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestRange{RequestRange: req}}
}

func putKey(key, value []byte, lease int64) *etcdserverpb.RequestOp {
	return &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestPut{
		RequestPut: &etcdserverpb.PutRequest{Key: key, Value: value, Lease: lease},
	}}
}

func deleteKey(key []byte) *etcdserverpb.RequestOp {
	return &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestDeleteRange{
		RequestDeleteRange: &etcdserverpb.DeleteRangeRequest{Key: key},
	}}
}
