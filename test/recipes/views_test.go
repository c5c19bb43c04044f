package recipes

import (
	"context"
	"fmt"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/ordering"
)

// keys lists the keys and values of a response.
func keys(resp *clientv3.GetResponse) string {
	var b strings.Builder
	for _, kv := range resp.Kvs {
		fmt.Fprintf(&b, "%s=%s ", kv.Key, kv.Value)
	}
	return strings.TrimSpace(b.String())
}

// TestNamespace works behind a prefix: the prefix is not visible inside, and keys outside are not
// affected.
func TestNamespace(t *testing.T) {
	f := start(t)
	for _, key := range []string{"n", "n/", "n0", "nz"} {
		_, err := f.Put(f.ctx, key, "outside")
		f.must("put", err)
	}
	kv, leases := namespace.NewKV(f.Client, "n/"), namespace.NewLease(f.Client, "n/")
	watch := namespace.NewWatcher(f.Client, "n/").Watch(f.ctx, "", clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithCreatedNotify())
	if created := <-watch; !created.Created {
		t.Fatalf("watch: %+v", created)
	}
	lease, err := leases.Grant(f.ctx, 60)
	f.must("grant", err)
	_, err = kv.Put(f.ctx, "a", "1", clientv3.WithLease(lease.ID))
	f.must("put", err)
	resp, err := kv.Txn(f.ctx).If(clientv3.Compare(clientv3.Value("a"), "=", "1")).
		Then(clientv3.OpPut("b", "2"), clientv3.OpGet("", clientv3.WithFromKey()), clientv3.OpDelete("a", clientv3.WithPrevKV())).Commit()
	f.must("transaction", err)
	if got := keys((*clientv3.GetResponse)(resp.Responses[1].GetResponseRange())); !resp.Succeeded || got != "a=1 b=2" {
		t.Errorf("the transaction saw %q", got)
	}
	if prev := resp.Responses[2].GetResponseDeleteRange().PrevKvs[0]; string(prev.Key) != "a" {
		t.Errorf("it deleted %q", prev.Key)
	}
	all, err := kv.Get(f.ctx, "", clientv3.WithPrefix())
	f.must("get", err)
	if got := keys(all); got != "b=2" {
		t.Errorf("inside there are %q", got)
	}
	received := ""
	for n := 0; n < 3; {
		for _, e := range (<-watch).Events {
			received, n = received+fmt.Sprintf("%s %s ", e.Type, e.Kv.Key), n+1
		}
	}
	if received != "PUT a PUT b DELETE a " {
		t.Errorf("the watch received %q", received)
	}
	ttl, err := leases.TimeToLive(f.ctx, lease.ID, clientv3.WithAttachedKeys())
	f.must("keys of the lease", err)
	if len(ttl.Keys) != 0 {
		t.Errorf("the lease has %q", ttl.Keys)
	}
	gone, err := kv.Delete(f.ctx, "", clientv3.WithFromKey())
	f.must("delete", err)
	if gone.Deleted != 1 || f.value(f, "n") != "outside" || f.value(f, "n0") != "outside" || f.value(f, "nz") != "outside" {
		t.Errorf("%d keys were deleted, and beside the namespace there are %q %q %q", gone.Deleted, f.value(f, "n"), f.value(f, "n0"), f.value(f, "nz"))
	}
}

// TestLeasing reads through two caches that hold leases on keys: after a write by one, the other
// must not return the old value.
func TestLeasing(t *testing.T) {
	f := start(t)
	one, closeOne, err := leasing.NewKV(f.Client, "leases/")
	f.must("leasing", err)
	defer closeOne()
	two, closeTwo, err := leasing.NewKV(f.client(), "leases/")
	f.must("leasing", err)
	defer closeTwo()
	for i := range 10 {
		writer, reader := one, two
		if i%2 == 1 {
			writer, reader = two, one
		}
		want := fmt.Sprint("v", i)
		_, err := writer.Put(f.ctx, "k", want)
		f.must("put", err)
		for _, kv := range []clientv3.KV{reader, writer, reader} {
			if got := f.value(kv, "k"); got != want {
				t.Fatalf("round %d: read %q, want %q", i, got, want)
			}
		}
	}
	resp, err := one.Txn(f.ctx).If(clientv3.Compare(clientv3.Value("k"), "=", "v9")).Then(clientv3.OpPut("k", "txn"), clientv3.OpGet("k")).Commit()
	f.must("transaction", err)
	if !resp.Succeeded || f.value(two, "k") != "txn" {
		t.Errorf("after the transaction (%t) the other reads %q", resp.Succeeded, f.value(two, "k"))
	}
	if gone, err := two.Delete(f.ctx, "k", clientv3.WithPrefix()); err != nil || gone.Deleted != 1 || f.value(one, "k") != "" {
		t.Errorf("after the delete (%v) the other reads %q", err, f.value(one, "k"))
	}
	// A cached response needs no server.
	_, err = one.Put(f.ctx, "cached", "here")
	f.must("put", err)
	f.value(one, "cached")
	f.server.Kill()
	if got := f.value(one, "cached"); got != "here" {
		t.Errorf("without a server: %q", got)
	}
	f.server.Restart()
	if got := f.value(two, "cached"); got != "here" {
		t.Errorf("with the server back: %q", got)
	}
}

// TestMirror copies a prefix page by page and then follows its changes, until both sides are equal.
func TestMirror(t *testing.T) {
	f := start(t)
	const n = 1500 // exceeds the page size of 1000
	for i := 0; i < n; i += 100 {
		var ops []clientv3.Op
		for j := i; j < i+100; j++ {
			ops = append(ops, clientv3.OpPut(fmt.Sprintf("m/%04d", j), "old"))
		}
		_, err := f.Txn(f.ctx).Then(ops...).Commit()
		f.must("put", err)
	}
	_, err := f.Put(f.ctx, "other", "x")
	f.must("put", err)
	copied := map[string]string{}
	syncer := mirror.NewSyncer(f.Client, "m/", 0)
	pages, failed := syncer.SyncBase(f.ctx)
	for page := range pages {
		for _, kv := range page.Kvs {
			copied[string(kv.Key)] = string(kv.Value)
		}
		if _, err := f.Put(f.ctx, "m/1400", "while copying"); err != nil {
			t.Fatal(err)
		}
	}
	f.must("copy", <-failed)
	if len(copied) != n || copied["m/1400"] != "old" {
		t.Errorf("copied %d keys, m/1400 is %q", len(copied), copied["m/1400"])
	}
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	updates := syncer.SyncUpdates(ctx)
	_, err = f.Delete(f.ctx, "m/00", clientv3.WithPrefix())
	f.must("delete", err)
	_, err = f.Put(f.ctx, "m/last", "put")
	f.must("put", err)
	for copied["m/last"] == "" {
		resp := <-updates
		f.must("update", resp.Err())
		for _, e := range resp.Events {
			if e.Type == clientv3.EventTypeDelete {
				delete(copied, string(e.Kv.Key))
			} else {
				copied[string(e.Kv.Key)] = string(e.Kv.Value)
			}
		}
	}
	resp, err := f.Get(f.ctx, "m/", clientv3.WithPrefix())
	f.must("get", err)
	if len(resp.Kvs) != len(copied) {
		t.Errorf("%d keys were copied, there are %d", len(copied), len(resp.Kvs))
	}
	for _, kv := range resp.Kvs {
		if copied[string(kv.Key)] != string(kv.Value) {
			t.Errorf("%s is %q, the copy %q", kv.Key, kv.Value, copied[string(kv.Key)])
		}
	}
}

// TestOrdering never reads an older state than before; a read that would fails with an error.
func TestOrdering(t *testing.T) {
	f := start(t)
	violated := 0
	kv := ordering.NewKV(f.Client, func(clientv3.Op, clientv3.OpResponse, int64) error {
		violated++
		return ordering.ErrNoGreaterRev
	})
	for i := range 20 {
		_, err := f.Put(f.ctx, "k", fmt.Sprint(i))
		f.must("put", err)
		resp, err := kv.Get(f.ctx, "k", clientv3.WithSerializable())
		f.must("get", err)
		if got := string(resp.Kvs[0].Value); got != fmt.Sprint(i) {
			t.Errorf("read %s after %d was put", got, i)
		}
		if _, err := kv.Txn(f.ctx).Then(clientv3.OpGet("k", clientv3.WithSerializable())).Commit(); err != nil {
			t.Error(err)
		}
	}
	if violated > 0 {
		t.Errorf("the order was violated %d times", violated)
	}
}
