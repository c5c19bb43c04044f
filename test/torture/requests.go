package main

import (
	"fmt"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/check"
)

func protoTxn(r *clientv3.TxnResponse) *etcdserverpb.TxnResponse {
	return (*etcdserverpb.TxnResponse)(r)
}

func protoRange(r *clientv3.GetResponse) *etcdserverpb.RangeResponse {
	return (*etcdserverpb.RangeResponse)(r)
}

func protoDelete(r *clientv3.DeleteResponse) *etcdserverpb.DeleteRangeResponse {
	return (*etcdserverpb.DeleteRangeResponse)(r)
}

// leaseIDs allocates unique lease IDs.
type leaseIDs struct{ atomic.Int64 }

// firstLease is far from the numbers that attackers send.
const firstLease = 0x7abc_0000_0000

// keyNames are few, so that clients use the same keys. Those that begin with "/" are used by v2,
// too.
var keyNames = []string{"a", "b", "c", "/d/x", "/d/y", "/d/z", "/e"}

func (w *worker) key() string { return keyNames[w.rng.IntN(len(keyNames))] }

// span draws a range of keys.
func (w *worker) span() (key, end string) {
	switch w.rng.IntN(5) {
	case 0:
		return "\x00", "\x00"
	case 1:
		return "/d/", "/d0"
	default:
		return w.key(), ""
	}
}

// next draws a request.
func (w *worker) next() check.Request {
	switch n := w.rng.IntN(100); {
	case n < 30:
		return check.Request{Range: w.read()}
	case n < 50:
		return check.Request{Put: w.put()}
	case n < 55:
		d := &check.Delete{Key: w.key(), PrevKV: w.rng.IntN(2) == 0}
		if w.rng.IntN(10) == 0 {
			d.Key, d.End = "/d/", "/d0"
		}
		return check.Request{Delete: d}
	case n < 65:
		return check.Request{Txn: w.txn()}
	case n < 75:
		return w.leased()
	case n < 76:
		return check.Request{Compact: &check.Compact{Revision: max(1, w.seen-w.rng.Int64N(400))}}
	default:
		return check.Request{V2: w.v2Request()}
	}
}

func (w *worker) read() *check.Range {
	r := &check.Range{Serializable: w.rng.IntN(4) == 0, KeysOnly: w.rng.IntN(8) == 0, CountOnly: w.rng.IntN(8) == 0}
	r.Key, r.End = w.span()
	if w.rng.IntN(6) == 0 {
		r.Limit = 1 + w.rng.Int64N(4)
	}
	if w.seen > 1 && w.rng.IntN(4) == 0 {
		r.Revision = max(1, w.seen-w.rng.Int64N(60)+2)
	}
	return r
}

func (w *worker) put() *check.Put {
	return &check.Put{Key: w.key(), Value: w.value(), PrevKV: w.rng.IntN(3) == 0}
}

// txn draws a transaction: a change of a key on the condition that no other client has changed it,
// or a change of several keys together.
func (w *worker) txn() *check.Txn {
	out := &check.Txn{}
	key := w.key()
	switch w.rng.IntN(4) {
	case 0:
		out.If = []check.Compare{{Key: key, Target: check.CompareVersion, Result: check.Equal}}
	case 1:
		out.If = []check.Compare{{Key: w.last.Key, Target: check.CompareMod, Result: check.Equal, Number: w.last.Mod}}
		key = w.last.Key
	case 2:
		out.If = []check.Compare{{Key: w.last.Key, Target: check.CompareValue, Result: check.NotEqual, Value: w.last.Value}}
	}
	if key == "" {
		key, out.If = "a", nil
	}
	out.Then = []check.Request{
		{Range: &check.Range{Key: key}},
		{Put: &check.Put{Key: key, Value: w.value(), PrevKV: true}},
		{Put: &check.Put{Key: key + "+", Value: w.value()}},
		{Range: &check.Range{Key: key + "+"}},
	}
	if w.rng.IntN(3) == 0 {
		out.Then = append(out.Then, check.Request{Txn: &check.Txn{
			If:   []check.Compare{{Key: key, Target: check.CompareCreate, Result: check.Greater}},
			Then: []check.Request{{Delete: &check.Delete{Key: "nested", PrevKV: true}}},
			Else: []check.Request{{Put: &check.Put{Key: "nested", Value: w.value()}}},
		}})
	}
	out.Else = []check.Request{{Range: &check.Range{Key: key}}}
	return out
}

// ttlMax is the longest TTL of a grant.
const ttlMax = 5 * time.Second

// leased draws a request about leases: some are renewed, others abandoned.
func (w *worker) leased() check.Request {
	if len(w.mine) == 0 || w.rng.IntN(8) == 0 {
		return check.Request{Lease: &check.Lease{Do: check.Grant, ID: w.lease.Add(1), TTL: 1 + w.rng.Int64N(int64(ttlMax/time.Second))}}
	}
	id := w.mine[w.rng.IntN(len(w.mine))]
	switch w.rng.IntN(10) {
	case 0:
		w.forget(id)
		return check.Request{Lease: &check.Lease{Do: check.Revoke, ID: id}}
	case 1:
		w.forget(id)
		return check.Request{Range: w.read()}
	case 2, 3, 4:
		return check.Request{Lease: &check.Lease{Do: check.Renew, ID: id}}
	default:
		return check.Request{Put: &check.Put{Key: fmt.Sprintf("l%d.%d", w.id, w.rng.IntN(3)), Value: w.value(), Lease: id}}
	}
}

var v2Paths = []string{"/d", "/d/x", "/d/y", "/d/z", "/e", "/f/g", "/f/h", "/q"}

// v2Request draws a request of the v2 API.
func (w *worker) v2Request() *check.V2 {
	r := &check.V2{Path: v2Paths[w.rng.IntN(len(v2Paths))], Value: w.value()}
	if w.rng.IntN(5) == 0 {
		r.HasTTL, r.TTL = true, (1+w.rng.Int64N(4))*1e9
	}
	switch w.rng.IntN(12) {
	case 0, 1, 2:
		r.Do = check.V2Set
	case 3:
		r.Do = check.V2Create
	case 4:
		r.Do, r.Path = check.V2CreateInOrder, "/q"
	case 5:
		r.Do = check.V2Update
	case 6:
		r.Do, r.HasTTL, r.TTL = check.V2CompareAndSwap, false, 0
		w.compare(r)
	case 7:
		// Never a directory: watchers receive events of keys only, so lost responses of changes of
		// directories could not be resolved.
		*r = check.V2{Do: check.V2Delete, Path: w.v2Key()}
	case 8:
		*r = check.V2{Do: check.V2CompareAndDelete, Path: w.v2Key()}
		w.compare(r)
	default:
		*r = check.V2{Do: check.V2Get, Path: r.Path, Recursive: w.rng.IntN(2) == 0, Linearized: w.rng.IntN(2) == 0}
	}
	return r
}

// v2Key draws the path of a key.
func (w *worker) v2Key() string { return v2Paths[1+w.rng.IntN(len(v2Paths)-2)] }

// compare gives a request a condition, mostly one that holds for the last value seen.
func (w *worker) compare(r *check.V2) {
	if w.last.Key != "" && w.last.Key[0] == '/' {
		r.Path = w.last.Key
	}
	r.PrevIndex = max(1, w.last.Mod)
	if w.last.Value != "" && w.rng.IntN(2) == 0 {
		r.PrevIndex, r.PrevValue = 0, w.last.Value
	}
}
