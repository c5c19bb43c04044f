package goclient

import (
	"fmt"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestTxnCompare tries every target with every result, such that each comparison holds and does not
// hold once.
func TestTxnCompare(t *testing.T) {
	f := start(t)
	r := f.put("k", "a", "k", "m")
	for name, target := range map[string]func(result string, off int) clientv3.Cmp{
		"version": func(is string, d int) clientv3.Cmp { return clientv3.Compare(clientv3.Version("k"), is, 2+d) },
		"create": func(is string, d int) clientv3.Cmp {
			return clientv3.Compare(clientv3.CreateRevision("k"), is, int(r[0])+d)
		},
		"modified": func(is string, d int) clientv3.Cmp {
			return clientv3.Compare(clientv3.ModRevision("k"), is, int(r[1])+d)
		},
		"value": func(is string, d int) clientv3.Cmp {
			return clientv3.Compare(clientv3.Value("k"), is, string(rune('m'+d)))
		},
		"lease": func(is string, d int) clientv3.Cmp { return clientv3.Compare(clientv3.LeaseValue("k"), is, d) },
	} {
		for _, c := range []struct {
			result string
			holds  [3]bool // compared with one less, the same, one more
		}{
			{"=", [3]bool{false, true, false}},
			{"!=", [3]bool{true, false, true}},
			{">", [3]bool{true, false, false}},
			{"<", [3]bool{false, false, true}},
		} {
			for i, want := range c.holds {
				resp, err := f.Txn(f.ctx).If(target(c.result, i-1)).Commit()
				if err != nil {
					t.Fatalf("%s %s own%+d: %v", name, c.result, i-1, err)
				}
				if resp.Succeeded != want {
					t.Errorf("%s %s own%+d: got %t, want %t", name, c.result, i-1, resp.Succeeded, want)
				}
				if resp.Header.Revision != r[1] {
					t.Errorf("a transaction without writes moved the revision to %d", resp.Header.Revision)
				}
			}
		}
	}
}

func TestTxnCompareRangesAndAbsence(t *testing.T) {
	f := start(t)
	f.put("p/1", "same", "p/2", "same", "p/3", "other")
	for name, c := range map[string]struct {
		cmp  clientv3.Cmp
		want bool
	}{
		"all of a range":           {clientv3.Compare(clientv3.Value("p/1"), "=", "same").WithRange("p/3"), true},
		"not all":                  {clientv3.Compare(clientv3.Value("p/"), "=", "same").WithPrefix(), false},
		"an empty range":           {clientv3.Compare(clientv3.Value("q/"), "=", "x").WithPrefix(), false},
		"an absent version":        {clientv3.Compare(clientv3.Version("absent"), "=", 0), true},
		"an absent creation":       {clientv3.Compare(clientv3.CreateRevision("absent"), "=", 0), true},
		"an absent value":          {clientv3.Compare(clientv3.Value("absent"), "=", ""), false},
		"an absent value, unequal": {clientv3.Compare(clientv3.Value("absent"), "!=", "x"), false},
	} {
		resp, err := f.Txn(f.ctx).If(c.cmp).Commit()
		if err != nil || resp.Succeeded != c.want {
			t.Errorf("%s: %v, %v; want %t", name, resp, err, c.want)
		}
	}
}

func TestTxnBranches(t *testing.T) {
	f := start(t)
	before := f.put("k", "v", "del/1", "x", "del/2", "y")[2]
	resp, err := f.Txn(f.ctx).
		If(clientv3.Compare(clientv3.Value("k"), "=", "v"), clientv3.Compare(clientv3.Version("new"), "=", 0)).
		Then(
			clientv3.OpPut("new", "1", clientv3.WithPrevKV()),
			clientv3.OpGet("new"),
			clientv3.OpDelete("del/", clientv3.WithPrefix(), clientv3.WithPrevKV()),
			clientv3.OpGet("del/", clientv3.WithPrefix(), clientv3.WithCountOnly()),
			clientv3.OpPut("k", "w", clientv3.WithPrevKV()),
		).
		Else(clientv3.OpPut("wrong", "branch")).Commit()
	if err != nil || !resp.Succeeded || len(resp.Responses) != 5 || resp.Header.Revision != before+1 {
		t.Fatalf("got %v, %v; want success at revision %d", resp, err, before+1)
	}
	if kvs := resp.Responses[1].GetResponseRange().Kvs; len(kvs) != 1 || kvs[0].ModRevision != before+1 {
		t.Errorf("a read after a write in the same transaction sees %v", kvs)
	}
	if del := resp.Responses[2].GetResponseDeleteRange(); del.Deleted != 2 || len(del.PrevKvs) != 2 {
		t.Errorf("the delete responds %v", del)
	}
	if n := resp.Responses[3].GetResponseRange().Count; n != 0 {
		t.Errorf("a count after the delete is %d", n)
	}
	if prev := resp.Responses[4].GetResponsePut().PrevKv; prev == nil || string(prev.Value) != "v" {
		t.Errorf("the put's previous value is %v", prev)
	}
	// All writes of one transaction have one revision.
	if a, b := f.get("k").Kvs[0].ModRevision, f.get("new").Kvs[0].ModRevision; a != b || a != before+1 {
		t.Errorf("one transaction wrote at %d and %d", a, b)
	}
	resp, err = f.Txn(f.ctx).If(clientv3.Compare(clientv3.Value("k"), "=", "v")).
		Then(clientv3.OpPut("wrong", "branch")).Else(clientv3.OpGet("k")).Commit()
	if err != nil || resp.Succeeded || string(resp.Responses[0].GetResponseRange().Kvs[0].Value) != "w" || resp.Header.Revision != before+1 {
		t.Errorf("the other branch responds %v, %v", resp, err)
	}
	if got := f.get("wrong"); len(got.Kvs) != 0 {
		t.Error("the branch that was not chosen was executed")
	}
}

func TestTxnNested(t *testing.T) {
	f := start(t)
	before := f.put("k", "v")[0]
	resp, err := f.Txn(f.ctx).Then(
		clientv3.OpPut("outer", "1"),
		clientv3.OpTxn(
			[]clientv3.Cmp{clientv3.Compare(clientv3.Value("k"), "=", "v")},
			[]clientv3.Op{clientv3.OpPut("inner", "2"), clientv3.OpGet("outer")},
			[]clientv3.Op{clientv3.OpPut("inner", "wrong")},
		),
	).Commit()
	if err != nil || !resp.Succeeded || resp.Header.Revision != before+1 {
		t.Fatalf("got %v, %v", resp, err)
	}
	inner := resp.Responses[1].GetResponseTxn()
	if inner == nil || !inner.Succeeded || len(inner.Responses) != 2 || len(inner.Responses[1].GetResponseRange().Kvs) != 1 {
		t.Errorf("the nested transaction responds %v", inner)
	}
	if kv := f.get("inner").Kvs[0]; string(kv.Value) != "2" || kv.ModRevision != before+1 {
		t.Errorf("the nested put left %v", kv)
	}
}

// TestTxnNestedCompares: all comparisons use the state before the transaction, also those of a
// nested transaction that follows a put.
func TestTxnNestedCompares(t *testing.T) {
	f := start(t)
	f.put("k", "before")
	resp, err := f.Txn(f.ctx).Then(
		clientv3.OpPut("k", "after"),
		clientv3.OpTxn(
			[]clientv3.Cmp{clientv3.Compare(clientv3.Value("k"), "=", "before")},
			[]clientv3.Op{clientv3.OpGet("k")},
			nil,
		),
	).Commit()
	if err != nil {
		t.Fatal(err)
	}
	inner := resp.Responses[1].GetResponseTxn()
	if !inner.Succeeded || string(inner.Responses[0].GetResponseRange().Kvs[0].Value) != "after" {
		t.Errorf("the nested transaction responds %v", inner)
	}
}

func TestTxnErrors(t *testing.T) {
	f := start(t)
	r := f.put("k", "v")
	_, err := f.Txn(f.ctx).Then(clientv3.OpPut("a", "1"), clientv3.OpPut("a", "2")).Commit()
	f.wantError("two puts of a key", err, rpctypes.ErrDuplicateKey)
	_, err = f.Txn(f.ctx).Then(clientv3.OpPut("a", "1"), clientv3.OpDelete("a")).Commit()
	f.wantError("a put and a delete of a key", err, rpctypes.ErrDuplicateKey)
	_, err = f.Txn(f.ctx).Then(clientv3.OpPut("a/1", "1"), clientv3.OpDelete("a/", clientv3.WithPrefix())).Commit()
	f.wantError("a put and a delete of a range over it", err, rpctypes.ErrDuplicateKey)
	if _, err = f.Txn(f.ctx).If(clientv3.Compare(clientv3.Version("k"), "=", 99)).Then(clientv3.OpPut("a", "1")).Else(clientv3.OpPut("a", "2")).Commit(); err != nil {
		t.Errorf("the same key in both branches: %v", err)
	}
	_, err = f.Txn(f.ctx).Then(clientv3.OpPut("", "1")).Commit()
	f.wantError("an empty key", err, rpctypes.ErrEmptyKey)
	_, err = f.Txn(f.ctx).Then(clientv3.OpPut("b", "1"), clientv3.OpGet("k", clientv3.WithRev(r[0]+1000))).Commit()
	f.wantError("a read in the future", err, rpctypes.ErrFutureRev)
	if got := f.get("b"); len(got.Kvs) != 0 {
		t.Error("a failed transaction wrote a key")
	}
	ops := func(n int) (list []clientv3.Op) {
		for i := range n {
			list = append(list, clientv3.OpPut(fmt.Sprint("many/", i), "x"))
		}
		return list
	}
	if _, err = f.Txn(f.ctx).Then(ops(128)...).Commit(); err != nil {
		t.Errorf("128 operations, the most: %v", err)
	}
	_, err = f.Txn(f.ctx).Then(ops(129)...).Commit()
	f.wantError("129 operations", err, rpctypes.ErrTooManyOps)
}

func TestLimitsByFlag(t *testing.T) {
	f := start(t, "--max-txn-ops", "2", "--max-request-bytes", "10000")
	_, err := f.Txn(f.ctx).Then(clientv3.OpPut("a", ""), clientv3.OpPut("b", ""), clientv3.OpPut("c", "")).Commit()
	f.wantError("3 operations where 2 are allowed", err, rpctypes.ErrTooManyOps)
	_, err = f.Put(f.ctx, "k", string(make([]byte, 10001)))
	f.wantError("10001 bytes where 10000 are allowed", err, rpctypes.ErrRequestTooLarge)
	f.put("k", string(make([]byte, 9000)))
}
