package main

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/check"
)

// recorder records the history of one cluster.
type recorder struct {
	began time.Time
	done  atomic.Int64 // requests whose outcome is known

	mu sync.Mutex
	h  check.History // guarded by mu
}

func newRecorder() *recorder { return &recorder{began: time.Now()} }

// now returns the time on the history's clock.
func (r *recorder) now() int64 { return int64(time.Since(r.began)) }

// outcome is how a request ended.
type outcome int

const (
	known   outcome = iota
	unknown         // it may have been carried out, may yet be, or never
	void            // it certainly was not, or only read
)

// add records one request. Reads without a response are left out.
func (r *recorder) add(o check.Operation, how outcome) {
	switch how {
	case void:
		return
	case unknown:
		o.Return, o.Response = check.Never, check.Response{}
	default:
		r.done.Add(1)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Operations = append(r.h.Operations, o)
}

func (r *recorder) addWatch(w *check.Watch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.Watches = append(r.h.Watches, *w)
}

// errorName translates v3's errors that mean "not applied" into the model's names.
func errorName(err error) (name string, final bool) {
	err = rpctypes.Error(err)
	for _, e := range []struct {
		err  error
		name string
	}{
		{rpctypes.ErrCompacted, check.ErrCompacted},
		{rpctypes.ErrFutureRev, check.ErrFuture},
		{rpctypes.ErrKeyNotFound, check.ErrKeyNotFound},
		{rpctypes.ErrLeaseNotFound, check.ErrLeaseNotFound},
		{rpctypes.ErrLeaseExist, check.ErrLeaseExists},
	} {
		if errors.Is(err, e.err) {
			return e.name, true
		}
	}
	return "", false
}

func keyValue(kv *mvccpb.KeyValue) check.KV {
	return check.KV{
		Key: string(kv.Key), Value: string(kv.Value),
		Create: kv.CreateRevision, Mod: kv.ModRevision, Version: kv.Version, Lease: kv.Lease,
	}
}

func keyValues(kvs []*mvccpb.KeyValue) (all []check.KV) {
	for _, kv := range kvs {
		all = append(all, keyValue(kv))
	}
	return all
}

func previous(kv *mvccpb.KeyValue) *check.KV {
	if kv == nil {
		return nil
	}
	prev := keyValue(kv)
	return &prev
}

func rangeResponse(r *etcdserverpb.RangeResponse) *check.RangeResponse {
	return &check.RangeResponse{KVs: keyValues(r.Kvs), More: r.More, Count: r.Count}
}

func deleteResponse(r *etcdserverpb.DeleteRangeResponse) check.Response {
	return check.Response{Deleted: r.Deleted, Prevs: keyValues(r.PrevKvs)}
}

func txnResponse(r *etcdserverpb.TxnResponse) *check.TxnResponse {
	out := &check.TxnResponse{Succeeded: r.Succeeded}
	for _, op := range r.Responses {
		var one check.Response
		switch {
		case op.GetResponseRange() != nil:
			one.Range = rangeResponse(op.GetResponseRange())
		case op.GetResponsePut() != nil:
			one.Prev = previous(op.GetResponsePut().PrevKv)
		case op.GetResponseDeleteRange() != nil:
			one = deleteResponse(op.GetResponseDeleteRange())
		case op.GetResponseTxn() != nil:
			one.Txn = txnResponse(op.GetResponseTxn())
		}
		out.Responses = append(out.Responses, one)
	}
	return out
}

func event(e *clientv3.Event) check.Event {
	out := check.Event{Delete: e.Type == clientv3.EventTypeDelete, KV: check.KV{Key: string(e.Kv.Key), Mod: e.Kv.ModRevision}}
	if !out.Delete {
		out.KV = keyValue(e.Kv)
	}
	out.Prev = previous(e.PrevKv)
	return out
}
