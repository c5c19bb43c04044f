package v3rpc

import (
	"bytes"
	"cmp"
	"slices"
	"sort"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"cairn/internal/kv"
	"cairn/internal/machine"
	"cairn/internal/mvcc"
	"cairn/internal/v3op"
)

// checkTxn validates a transaction: sizes, keys, and that no key is written twice. opsMax is the
// number of operations that may still be nested below, as etcd counts them: the longest list of
// each level is subtracted for the next one.
func checkTxn(t *etcdserverpb.TxnRequest, opsMax int) error {
	if err := checkTxnOps(t, opsMax, 0); err != nil {
		return err
	}
	if _, err := branchWrites(t.Success); err != nil {
		return err
	}
	_, err := branchWrites(t.Failure)
	return err
}

func checkTxnOps(t *etcdserverpb.TxnRequest, opsMax, depth int) error {
	longest := max(len(t.Compare), len(t.Success), len(t.Failure))
	if longest > opsMax || depth > machine.TxnDepthMax {
		return rpctypes.ErrGRPCTooManyOps
	}
	for _, c := range t.Compare {
		if len(c.Key) == 0 {
			return rpctypes.ErrGRPCEmptyKey
		}
	}
	for _, branch := range [][]*etcdserverpb.RequestOp{t.Success, t.Failure} {
		for _, op := range branch {
			if err := checkOp(op, opsMax-longest, depth); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkOp(op *etcdserverpb.RequestOp, opsMax, depth int) error {
	switch r := op.Request.(type) {
	case *etcdserverpb.RequestOp_RequestRange:
		return checkRange(v3op.Range(r.RequestRange))
	case *etcdserverpb.RequestOp_RequestPut:
		return checkPut(v3op.Put(r.RequestPut))
	case *etcdserverpb.RequestOp_RequestDeleteRange:
		if len(r.RequestDeleteRange.Key) == 0 {
			return rpctypes.ErrGRPCEmptyKey
		}
		return nil
	case *etcdserverpb.RequestOp_RequestTxn:
		return checkTxnOps(r.RequestTxn, opsMax, depth+1)
	default:
		return rpctypes.ErrGRPCKeyNotFound // an operation of no kind, with etcd's error
	}
}

// writes are the writes of a branch: the keys that it puts, sorted, and the ranges that it deletes.
// Two deletes may overlap; a put must not overlap with any other write.
type writes struct {
	puts    [][]byte
	deletes []kv.KeyRange
}

// branchWrites collects the writes of a branch and of the transactions nested in it. It returns
// ErrDuplicateKey when one key is written by two operations that may both run: only the two
// branches of one nested transaction exclude each other.
func branchWrites(ops []*etcdserverpb.RequestOp) (w writes, err error) {
	for _, op := range ops {
		var more writes
		switch r := op.Request.(type) {
		case *etcdserverpb.RequestOp_RequestPut:
			more.puts = [][]byte{r.RequestPut.Key}
		case *etcdserverpb.RequestOp_RequestDeleteRange:
			more.deletes = []kv.KeyRange{{Key: r.RequestDeleteRange.Key, End: r.RequestDeleteRange.RangeEnd}}
		case *etcdserverpb.RequestOp_RequestTxn:
			success, err := branchWrites(r.RequestTxn.Success)
			if err != nil {
				return w, err
			}
			failure, err := branchWrites(r.RequestTxn.Failure)
			if err != nil {
				return w, err
			}
			more = writes{puts: union(success.puts, failure.puts), deletes: append(success.deletes, failure.deletes...)}
		default:
			continue
		}
		if w.clash(more) || more.clash(w) || meet(w.puts, more.puts) {
			return w, rpctypes.ErrGRPCDuplicateKey
		}
		w.puts = union(w.puts, more.puts)
		w.deletes = append(w.deletes, more.deletes...)
	}
	return w, nil
}

// clash reports whether w deletes a key that o puts.
func (w writes) clash(o writes) bool {
	for _, d := range w.deletes {
		i := sort.Search(len(o.puts), func(i int) bool { return bytes.Compare(o.puts[i], d.Key) >= 0 })
		if i < len(o.puts) && d.Contains(o.puts[i]) {
			return true
		}
	}
	return false
}

// meet reports whether two sorted lists have a key in common.
func meet(a, b [][]byte) bool {
	if len(a) < len(b) {
		a, b = b, a
	}
	return slices.ContainsFunc(b, func(key []byte) bool {
		_, found := slices.BinarySearchFunc(a, key, bytes.Compare)
		return found
	})
}

// union merges two sorted lists without duplicates.
func union(a, b [][]byte) [][]byte {
	if len(b) == 1 { // the usual case: one more put
		if at, found := slices.BinarySearchFunc(a, b[0], bytes.Compare); !found {
			return slices.Insert(a, at, b[0])
		}
		return a
	}
	all := append(slices.Clone(a), b...)
	slices.SortFunc(all, bytes.Compare)
	return slices.CompactFunc(all, bytes.Equal)
}

// serializable reports whether all ranges of a transaction that only reads are serializable.
func serializable(t *etcdserverpb.TxnRequest) bool {
	return !slices.ContainsFunc(slices.Concat(t.Success, t.Failure), func(op *etcdserverpb.RequestOp) bool {
		if nested := op.GetRequestTxn(); nested != nil {
			return !serializable(nested)
		}
		return op.GetRequestRange() != nil && !op.GetRequestRange().Serializable
	})
}

func txnResponse(h *etcdserverpb.ResponseHeader, t *mvcc.TxnResult) *etcdserverpb.TxnResponse {
	out := &etcdserverpb.TxnResponse{Header: h, Succeeded: t.Succeeded}
	for i := range t.Results {
		out.Responses = append(out.Responses, opResponse(&t.Results[i]))
	}
	return out
}

// opResponse converts the result of one operation. As in etcd, the headers of nested responses have
// only a revision, and those of nested transactions nothing.
func opResponse(r *mvcc.OpResult) *etcdserverpb.ResponseOp {
	at := func(rev int64) *etcdserverpb.ResponseHeader { return &etcdserverpb.ResponseHeader{Revision: rev} }
	switch {
	case r.Range != nil:
		return &etcdserverpb.ResponseOp{Response: &etcdserverpb.ResponseOp_ResponseRange{ResponseRange: &etcdserverpb.RangeResponse{
			Header: at(r.Range.Revision), Kvs: keyValues(r.Range.Keys), More: r.Range.More, Count: r.Range.Count,
		}}}
	case r.Put != nil:
		put := &etcdserverpb.PutResponse{Header: at(r.Put.Revision)}
		if r.Put.Prev != nil {
			put.PrevKv = keyValue(r.Put.Prev)
		}
		return &etcdserverpb.ResponseOp{Response: &etcdserverpb.ResponseOp_ResponsePut{ResponsePut: put}}
	case r.Delete != nil:
		return &etcdserverpb.ResponseOp{Response: &etcdserverpb.ResponseOp_ResponseDeleteRange{
			ResponseDeleteRange: deleteResponse(at(r.Delete.Revision), r.Delete),
		}}
	default:
		return &etcdserverpb.ResponseOp{Response: &etcdserverpb.ResponseOp_ResponseTxn{
			ResponseTxn: txnResponse(at(0), r.Txn),
		}}
	}
}

func deleteResponse(h *etcdserverpb.ResponseHeader, d *mvcc.DeleteResult) *etcdserverpb.DeleteRangeResponse {
	slices.SortFunc(d.Prev, func(a, b mvcc.KeyRecord) int { return cmp.Compare(string(a.Key), string(b.Key)) })
	return &etcdserverpb.DeleteRangeResponse{Header: h, Deleted: d.Deleted, PrevKvs: keyValues(d.Prev)}
}

func keyValues(keys []mvcc.KeyRecord) []*mvccpb.KeyValue {
	out := make([]*mvccpb.KeyValue, len(keys))
	for i := range keys {
		out[i] = keyValue(&keys[i])
	}
	return out
}

func keyValue(k *mvcc.KeyRecord) *mvccpb.KeyValue {
	return &mvccpb.KeyValue{
		Key: k.Key, CreateRevision: k.CreateRevision, ModRevision: k.Mod.Main,
		Version: k.Version, Value: k.Value, Lease: int64(k.Lease),
	}
}
