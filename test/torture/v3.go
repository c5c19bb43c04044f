package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/check"
)

// patience is the timeout of a request. It is longer than an election.
const patience = 3 * time.Second

// worker is one client, which sends one request after the other.
type worker struct {
	id     int
	member string // the member that gets its requests, shown in violations
	rng    *rand.Rand
	rec    *recorder
	lease  *leaseIDs
	pause  time.Duration // between requests

	v3 *clientv3.Client
	v2 *v2Client

	values int
	seen   int64 // the latest revision that it saw
	mine   []int64
	last   check.KV // what it saw last
}

// run sends requests until the context ends.
func (w *worker) run(ctx context.Context) {
	for ctx.Err() == nil {
		w.once(ctx, w.next())
		if !sleep(ctx, time.Duration(w.rng.Int64N(int64(2*w.pause)+1))) {
			return
		}
	}
}

// once sends one request, and reports whether it got a response.
func (w *worker) once(ctx context.Context, r check.Request) bool {
	o := check.Operation{Client: w.id, Member: w.member, Request: r, Call: w.rec.now()}
	asked, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var how outcome
	if r.V2 != nil {
		o.Response, how = w.v2.ask(asked, r.V2)
	} else {
		o.Response, how = w.ask(asked, &r)
	}
	o.Return = w.rec.now()
	w.rec.add(o, how)
	if how == known {
		w.heard(&r, &o.Response)
	}
	return how == known
}

// sleep waits, and returns false when the context ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// ask sends a request of the v3 API.
func (w *worker) ask(ctx context.Context, r *check.Request) (check.Response, outcome) {
	out, err := w.send(ctx, r)
	if err == nil {
		return out, known
	}
	if name, final := errorName(err); final {
		return check.Response{Err: name}, known
	}
	if r.Range != nil {
		return out, void
	}
	return out, unknown
}

func (w *worker) send(ctx context.Context, r *check.Request) (out check.Response, err error) {
	switch {
	case r.Lease != nil:
		return w.sendLease(ctx, r.Lease)
	case r.Compact != nil:
		resp, err := w.v3.Compact(ctx, r.Compact.Revision)
		if err != nil {
			return out, err
		}
		return check.Response{Revision: resp.Header.Revision}, nil
	case r.Txn != nil:
		resp, err := w.v3.Do(ctx, operation(r))
		if err != nil {
			return out, err
		}
		txn := resp.Txn()
		return check.Response{Revision: txn.Header.Revision, Txn: txnResponse(protoTxn(txn))}, nil
	default:
		resp, err := w.v3.Do(ctx, operation(r))
		switch {
		case err != nil:
			return out, err
		case resp.Get() != nil:
			return check.Response{Revision: resp.Get().Header.Revision, Range: rangeResponse(protoRange(resp.Get()))}, nil
		case resp.Put() != nil:
			return check.Response{Revision: resp.Put().Header.Revision, Prev: previous(resp.Put().PrevKv)}, nil
		default:
			out = deleteResponse(protoDelete(resp.Del()))
			out.Revision = resp.Del().Header.Revision
			return out, nil
		}
	}
}

// sendLease uses the generated client: the methods of clientv3 repeat a request whose response was
// lost, and then report that the lease just granted exists already, or that the one just revoked
// does not exist.
func (w *worker) sendLease(ctx context.Context, l *check.Lease) (out check.Response, err error) {
	leases := etcdserverpb.NewLeaseClient(w.v3.ActiveConnection())
	switch l.Do {
	case check.Grant:
		resp, err := leases.LeaseGrant(ctx, &etcdserverpb.LeaseGrantRequest{ID: l.ID, TTL: l.TTL})
		if err != nil {
			return out, err
		}
		return check.Response{Revision: resp.Header.Revision, TTL: resp.TTL}, nil
	case check.Revoke:
		resp, err := leases.LeaseRevoke(ctx, &etcdserverpb.LeaseRevokeRequest{ID: l.ID})
		if err != nil {
			return out, err
		}
		return check.Response{Revision: resp.Header.Revision}, nil
	default:
		resp, err := w.v3.KeepAliveOnce(ctx, clientv3.LeaseID(l.ID))
		if err != nil {
			return out, err
		}
		return check.Response{Revision: resp.Revision, TTL: resp.TTL}, nil
	}
}

// operation converts a request to a clientv3.Op.
func operation(r *check.Request) clientv3.Op {
	var options []clientv3.OpOption
	add := func(when bool, o clientv3.OpOption) {
		if when {
			options = append(options, o)
		}
	}
	switch {
	case r.Range != nil:
		q := r.Range
		add(q.End != "", clientv3.WithRange(q.End))
		add(q.Limit > 0, clientv3.WithLimit(q.Limit))
		add(q.Revision > 0, clientv3.WithRev(q.Revision))
		add(q.KeysOnly, clientv3.WithKeysOnly())
		add(q.CountOnly, clientv3.WithCountOnly())
		add(q.Serializable, clientv3.WithSerializable())
		return clientv3.OpGet(q.Key, options...)
	case r.Put != nil:
		add(r.Put.Lease != 0, clientv3.WithLease(clientv3.LeaseID(r.Put.Lease)))
		add(r.Put.PrevKV, clientv3.WithPrevKV())
		add(r.Put.IgnoreValue, clientv3.WithIgnoreValue())
		return clientv3.OpPut(r.Put.Key, r.Put.Value, options...)
	case r.Delete != nil:
		add(r.Delete.End != "", clientv3.WithRange(r.Delete.End))
		add(r.Delete.PrevKV, clientv3.WithPrevKV())
		return clientv3.OpDelete(r.Delete.Key, options...)
	default:
		var cmps []clientv3.Cmp
		for _, c := range r.Txn.If {
			cmps = append(cmps, comparison(&c))
		}
		return clientv3.OpTxn(cmps, operations(r.Txn.Then), operations(r.Txn.Else))
	}
}

func operations(rs []check.Request) (ops []clientv3.Op) {
	for i := range rs {
		ops = append(ops, operation(&rs[i]))
	}
	return ops
}

func comparison(c *check.Compare) clientv3.Cmp {
	result := []string{check.Equal: "=", check.Greater: ">", check.Less: "<", check.NotEqual: "!="}[c.Result]
	switch c.Target {
	case check.CompareVersion:
		return clientv3.Compare(clientv3.Version(c.Key), result, c.Number)
	case check.CompareCreate:
		return clientv3.Compare(clientv3.CreateRevision(c.Key), result, c.Number)
	case check.CompareMod:
		return clientv3.Compare(clientv3.ModRevision(c.Key), result, c.Number)
	case check.CompareLease:
		return clientv3.Compare(clientv3.LeaseValue(c.Key), result, c.Number)
	default:
		return clientv3.Compare(clientv3.Value(c.Key), result, c.Value)
	}
}

// heard keeps the revisions and leases of a response for later requests.
func (w *worker) heard(r *check.Request, resp *check.Response) {
	w.seen = max(w.seen, resp.Revision)
	switch {
	case resp.Err == check.ErrLeaseNotFound && r.Lease != nil:
		w.forget(r.Lease.ID)
	case resp.Err == check.ErrLeaseNotFound && r.Put != nil:
		w.forget(r.Put.Lease)
	case resp.Range != nil && len(resp.Range.KVs) > 0 && !foreignKey(resp.Range.KVs[0].Key):
		w.last = resp.Range.KVs[0]
	case r.Lease != nil && r.Lease.Do == check.Grant && resp.Err == "":
		w.mine = append(w.mine, r.Lease.ID)
	case resp.V2 != nil && resp.V2.Code == 0 && !resp.V2.Node.Dir:
		w.last = check.KV{Key: resp.V2.Node.Key, Value: resp.V2.Node.Value, Mod: resp.V2.Node.Modified}
	}
}

func (w *worker) forget(id int64) {
	w.mine = slices.DeleteFunc(w.mine, func(o int64) bool { return o == id })
}

// value returns a value that no other write has.
func (w *worker) value() string {
	w.values++
	return fmt.Sprintf("%d.%d", w.id, w.values)
}
