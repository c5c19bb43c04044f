package v3rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"cairn/internal/kv"
	"cairn/internal/mvcc"
	"cairn/internal/watch"
)

// Locks and elections are queues of keys: a caller that wants a turn puts a key below the name,
// attached to a lease, and waits until every key that was created before has been deleted. The keys
// are those of etcd's recipe, so that callers of these services and clients that run the recipe
// themselves share one queue. All reads and writes are those of the KV service, on behalf of the
// caller.

// turnTTL is the TTL, in seconds, of the lease that is granted to a caller without one.
const turnTTL = 60

// leaveTimeout limits the deletion of the key of a caller that has disconnected; after it the key
// stays until the lease expires.
const leaveTimeout = 5 * time.Second

// errManyDeleted ends a read of a queue among whose keys there are many deleted ones.
var errManyDeleted = errors.New("the queue has many deleted keys")

// turn is a key in a queue.
type turn struct {
	prefix []byte // of all keys of the queue
	key    []byte
	lease  int64
	// created is the create revision of the key: its place in the queue.
	created int64
}

// turnWritesMax is how many calls for a turn write at a time, and how many that give up. All other
// writes are batched with those few: thousands of calls for one lock delay one another, and not the
// rest.
const turnWritesMax = 64

// writeTurn runs a function that writes for a turn.
func (s *server) writeTurn(ctx context.Context, write func() error) error {
	select {
	case s.turnWrites <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.turnWrites }()
	return write()
}

// takeTurn puts the key of a caller's turn, unless the caller's lease has one already. The response
// is that of the transaction.
func (s *server) takeTurn(ctx context.Context, name []byte, lease int64, value []byte) (t *turn, resp *etcdserverpb.TxnResponse, err error) {
	if t, err = s.newTurn(ctx, name, lease); err != nil {
		return nil, nil, err
	}
	resp, err = s.transact(ctx, &etcdserverpb.TxnRequest{
		Compare: []*etcdserverpb.Compare{createdAt(t.key, 0)},
		Success: []*etcdserverpb.RequestOp{putKey(t.key, value, t.lease)},
		Failure: []*etcdserverpb.RequestOp{getRange(&etcdserverpb.RangeRequest{Key: t.key})},
	})
	if err != nil {
		return nil, nil, err
	}
	t.created = resp.Header.Revision
	if !resp.Succeeded {
		t.created = resp.Responses[0].GetResponseRange().Kvs[0].CreateRevision
	}
	return t, resp, nil
}

// queueOf returns the prefix of the keys of a queue.
func queueOf(name []byte) []byte { return append(bytes.Clone(name), '/') }

// newTurn returns the turn of a lease, not yet taken. Without a lease it grants one. The caller
// must have permission to read the queue.
func (s *server) newTurn(ctx context.Context, name []byte, lease int64) (*turn, error) {
	prefix := queueOf(name)
	all := prefixRange(prefix)
	err := s.read(ctx, permitRange(kv.KeyRange{Key: all.Key, End: all.RangeEnd}), func() error { return nil })
	if err != nil {
		return nil, err
	}
	if lease == 0 {
		resp, err := s.leaseGrant(ctx, &etcdserverpb.LeaseGrantRequest{TTL: turnTTL})
		if err != nil {
			return nil, err
		}
		lease = resp.(*etcdserverpb.LeaseGrantResponse).ID
	}
	return &turn{prefix: prefix, key: fmt.Appendf(bytes.Clone(prefix), "%x", lease), lease: lease}, nil
}

// alone reports whether a turn's key, which has just been put, is certainly the only one of its
// queue. Most locks are free; they need no copy of the queue. It reads at most some hundred keys,
// including deleted ones. The keys of a lock's former holders count among these until they are
// compacted, so a busy lock needs a copy.
func (s *server) alone(t *turn) bool {
	if s.queues.has(t.prefix) {
		return false // there are waiters, or were a moment ago
	}
	all := prefixRange(t.prefix)
	op := &mvcc.RangeOp{KeyRange: kv.KeyRange{Key: all.Key, End: all.RangeEnd}, KeysOnly: true}
	var keys firstTwo
	_, err := s.member.Requests.Keys().Range(op, &keys)
	return err == nil && keys.n == 1 && keys.created == t.created
}

// firstTwo is a mvcc.Sink for two keys.
type firstTwo struct {
	n       int
	created int64 // create revision of the last key
}

// Add implements mvcc.Sink.
func (f *firstTwo) Add(_ []byte, r *kv.Record) bool {
	f.n++
	f.created = r.CreateRevision
	return f.n < 2
}

// Reset implements mvcc.Sink.
func (f *firstTwo) Reset() { *f = firstTwo{} }

// Pause implements mvcc.Pauser: a walk that takes so long that it pauses has met many deleted keys.
func (f *firstTwo) Pause() error { return errManyDeleted }

// await returns when all keys of the queue that were created before the turn's have been deleted,
// or when the turn's own has been.
func (s *server) await(ctx context.Context, t *turn) error {
	for {
		q := s.enter(t.prefix)
		err := q.wait(ctx, t)
		s.leaveQueue(q)
		switch {
		case errors.Is(err, errQueueTooLong):
			return s.awaitByReading(ctx, t)
		case !errors.Is(err, errQueueReset):
			return err
		}
	}
}

// awaitByReading is await for queues that are too long to be copied.
func (s *server) awaitByReading(ctx context.Context, t *turn) error {
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

// awaitDelete returns when a key that existed at a revision has been deleted since, or may have
// been.
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

// leave deletes the key of a turn, unless it has been created again. The caller may have
// disconnected, so that its context does not end the deletion.
func (s *server) leave(ctx context.Context, t *turn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	// at the latest, the key is deleted with the lease
	_ = s.writeTurn(ctx, func() error {
		_, err := s.transact(ctx, &etcdserverpb.TxnRequest{
			Compare: []*etcdserverpb.Compare{createdAt(t.key, t.created)},
			Success: []*etcdserverpb.RequestOp{deleteKey(t.key)},
		})
		return err
	})
}

// following is a watch of some keys from a revision on.
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

// next waits for events. It returns none if they have been compacted: then the caller must read the
// keys.
func (f *following) next(ctx context.Context) ([]*watch.Event, error) {
	for {
		select {
		case <-f.in.Wake():
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-f.s.member.Watches.Watches().Closed():
			return nil, watch.ErrClosed
		}
		deliveries, err := f.in.Take()
		if err != nil {
			return nil, err
		}
		if len(deliveries) > 0 {
			return deliveries[0].Events, nil // there is one watcher
		}
	}
}

// transact runs a transaction on behalf of the caller.
func (s *server) transact(ctx context.Context, req *etcdserverpb.TxnRequest) (*etcdserverpb.TxnResponse, error) {
	resp, w, err := s.runTxn(ctx, req)
	w.end()
	return resp, err
}

// lookUp reads a range, linearizably.
func (s *server) lookUp(ctx context.Context, req *etcdserverpb.RangeRequest) ([]*mvccpb.KeyValue, *etcdserverpb.ResponseHeader, error) {
	resp, err := s.transact(ctx, &etcdserverpb.TxnRequest{Success: []*etcdserverpb.RequestOp{getRange(req)}})
	if err != nil {
		return nil, nil, err
	}
	return resp.Responses[0].GetResponseRange().Kvs, resp.Header, nil
}

// prefixRange returns the range of all keys with a prefix that ends with a slash.
func prefixRange(prefix []byte) *etcdserverpb.RangeRequest {
	end := bytes.Clone(prefix)
	end[len(end)-1]++
	return &etcdserverpb.RangeRequest{Key: prefix, RangeEnd: end}
}

// ownerOf returns a request for the key of a queue that was created first.
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
