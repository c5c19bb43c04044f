// Package v3op translates the requests of the v3 API that may be in a transaction into the
// operations of package mvcc.
//
// It owns the meaning of their fields. It does not own validation: package v3rpc checks a request
// before it translates it, and etcd has checked the requests in its log.
//
// Invariants: a translation never fails; an unknown enumeration value stays unknown. Bytes are not
// copied.
//
// Concurrency: none; all results depend only on the arguments.
package v3op

import (
	"slices"

	"go.etcd.io/etcd/api/v3/etcdserverpb"

	"cairn/internal/kv"
	"cairn/internal/mvcc"
)

// Txn translates a checked transaction.
func Txn(t *etcdserverpb.TxnRequest) *mvcc.TxnOp {
	out := &mvcc.TxnOp{Success: branchOps(t.Success), Failure: branchOps(t.Failure)}
	for _, c := range t.Compare {
		out.Compares = append(out.Compares, compareOp(c))
	}
	return out
}

func compareOp(c *etcdserverpb.Compare) mvcc.Compare {
	out := mvcc.Compare{
		KeyRange: kv.KeyRange{Key: c.Key, End: c.RangeEnd},
		Target:   mvcc.CompareTarget(min(uint32(c.Target), 255)), Result: mvcc.CompareResult(min(uint32(c.Result), 255)),
	}
	switch c.Target {
	case etcdserverpb.Compare_VERSION:
		out.Number = c.GetVersion()
	case etcdserverpb.Compare_CREATE:
		out.Number = c.GetCreateRevision()
	case etcdserverpb.Compare_MOD:
		out.Number = c.GetModRevision()
	case etcdserverpb.Compare_LEASE:
		out.Number = c.GetLease()
	case etcdserverpb.Compare_VALUE:
		out.Value = c.GetValue()
	}
	return out
}

func branchOps(ops []*etcdserverpb.RequestOp) []mvcc.Op {
	out := make([]mvcc.Op, 0, len(ops))
	for _, op := range ops {
		switch r := op.Request.(type) {
		case *etcdserverpb.RequestOp_RequestRange:
			out = append(out, mvcc.Op{Range: Range(r.RequestRange)})
		case *etcdserverpb.RequestOp_RequestPut:
			out = append(out, mvcc.Op{Put: Put(r.RequestPut)})
		case *etcdserverpb.RequestOp_RequestDeleteRange:
			out = append(out, mvcc.Op{Delete: Delete(r.RequestDeleteRange)})
		case *etcdserverpb.RequestOp_RequestTxn:
			out = append(out, mvcc.Op{Txn: Txn(r.RequestTxn)})
		}
	}
	return out
}

// Range translates a range.
func Range(r *etcdserverpb.RangeRequest) *mvcc.RangeOp {
	return &mvcc.RangeOp{
		KeyRange: kv.KeyRange{Key: r.Key, End: r.RangeEnd},
		Limit:    r.Limit, Revision: r.Revision,
		Order: mvcc.SortOrder(min(uint32(r.SortOrder), 255)), Target: mvcc.SortTarget(min(uint32(r.SortTarget), 255)),
		KeysOnly: r.KeysOnly, CountOnly: r.CountOnly,
		MinMod: r.MinModRevision, MaxMod: r.MaxModRevision, MinCreate: r.MinCreateRevision, MaxCreate: r.MaxCreateRevision,
	}
}

// Put translates a put.
func Put(r *etcdserverpb.PutRequest) *mvcc.PutOp {
	return &mvcc.PutOp{
		Key: r.Key, Value: r.Value, Lease: kv.LeaseID(r.Lease),
		PrevKV: r.PrevKv, IgnoreValue: r.IgnoreValue, IgnoreLease: r.IgnoreLease,
	}
}

// Delete translates a delete.
func Delete(r *etcdserverpb.DeleteRangeRequest) *mvcc.DeleteOp {
	return &mvcc.DeleteOp{KeyRange: kv.KeyRange{Key: r.Key, End: r.RangeEnd}, PrevKV: r.PrevKv}
}

// AddsData reports whether a branch puts something.
func AddsData(t *etcdserverpb.TxnRequest) bool {
	return slices.ContainsFunc(slices.Concat(t.Success, t.Failure), func(op *etcdserverpb.RequestOp) bool {
		return op.GetRequestPut() != nil || op.GetRequestTxn() != nil && AddsData(op.GetRequestTxn())
	})
}
