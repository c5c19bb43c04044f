package goclient

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

type keyValue = mvccpb.KeyValue

func TestPutOptions(t *testing.T) {
	f := start(t)
	r := f.put("k", "one")
	resp, err := f.Put(f.ctx, "k", "two", clientv3.WithPrevKV())
	if err != nil || resp.PrevKv == nil || string(resp.PrevKv.Value) != "one" || resp.PrevKv.ModRevision != r[0] {
		t.Errorf("put with prev_kv responds %v, %v", resp, err)
	}
	if resp, err = f.Put(f.ctx, "new", "x", clientv3.WithPrevKV()); err != nil || resp.PrevKv != nil {
		t.Errorf("put with prev_kv of a new key responds %v, %v", resp, err)
	}
	if resp, err = f.Put(f.ctx, "k", "three"); err != nil || resp.PrevKv != nil {
		t.Errorf("put without prev_kv responds %v, %v", resp, err)
	}
	if _, err = f.Put(f.ctx, "k", "", clientv3.WithIgnoreValue()); err != nil {
		t.Error(err)
	}
	if kv := f.get("k").Kvs[0]; string(kv.Value) != "three" || kv.Version != 4 || kv.ModRevision != resp.Header.Revision+1 {
		t.Errorf("after a put that ignores the value: %v", kv)
	}
	if _, err = f.Put(f.ctx, "k", "four", clientv3.WithIgnoreLease()); err != nil {
		t.Error(err)
	}
	if kv := f.get("k").Kvs[0]; string(kv.Value) != "four" || kv.Lease != 0 {
		t.Errorf("after a put that ignores the lease: %v", kv)
	}
	if _, err = f.Put(f.ctx, "empty", ""); err != nil {
		t.Error(err)
	}
	if resp := f.get("empty"); len(resp.Kvs) != 1 || len(resp.Kvs[0].Value) != 0 {
		t.Errorf("an empty value is read as %v", resp)
	}
}

func TestPutErrors(t *testing.T) {
	f := start(t)
	before := f.put("k", "v")[0]
	_, err := f.Put(f.ctx, "", "v")
	f.wantError("put of an empty key", err, rpctypes.ErrEmptyKey)
	_, err = f.Put(f.ctx, "absent", "", clientv3.WithIgnoreValue())
	f.wantError("put that ignores the value of an absent key", err, rpctypes.ErrKeyNotFound)
	_, err = f.Put(f.ctx, "absent", "", clientv3.WithIgnoreLease())
	f.wantError("put that ignores the lease of an absent key", err, rpctypes.ErrKeyNotFound)
	_, err = f.Put(f.ctx, "k", "v", clientv3.WithIgnoreValue())
	f.wantError("put with a value that ignores it", err, rpctypes.ErrValueProvided)
	_, err = f.Put(f.ctx, "k", "v", clientv3.WithLease(77), clientv3.WithIgnoreLease())
	f.wantError("put with a lease that ignores it", err, rpctypes.ErrLeaseProvided)
	_, err = f.Put(f.ctx, "k", "v", clientv3.WithLease(77))
	f.wantError("put with a lease that is not there", err, rpctypes.ErrLeaseNotFound)
	_, err = f.Put(f.ctx, "k", strings.Repeat("x", 1536<<10))
	f.wantError("put above --max-request-bytes", err, rpctypes.ErrRequestTooLarge)
	if after := f.get("k"); after.Header.Revision != before || string(after.Kvs[0].Value) != "v" {
		t.Errorf("failed puts changed the store: %v", after)
	}
}

func TestBytesAreKept(t *testing.T) {
	f := start(t)
	value := make([]byte, 1<<20)
	for i := range value {
		value[i] = byte(i * 31 >> 3)
	}
	for _, key := range []string{"\x00", "\x00\x00", "\xff", "\xff\xff", "a\x00b", "a/\xfe", "Schlüssel/鍵"} {
		f.put(key, string(value))
		if resp := f.get(key); len(resp.Kvs) != 1 || string(resp.Kvs[0].Key) != key || !bytes.Equal(resp.Kvs[0].Value, value) {
			t.Errorf("key %q or its value was changed", key)
		}
	}
}

func TestDelete(t *testing.T) {
	f := start(t)
	r := f.put("a", "1", "ab", "2", "b", "3", "c", "4")
	last := r[len(r)-1]
	resp, err := f.Delete(f.ctx, "absent")
	if err != nil || resp.Deleted != 0 || resp.Header.Revision != last {
		t.Errorf("delete of an absent key responds %v, %v; want revision %d still", resp, err, last)
	}
	resp, err = f.Delete(f.ctx, "a", clientv3.WithPrefix(), clientv3.WithPrevKV())
	if err != nil || resp.Deleted != 2 || resp.Header.Revision != last+1 || len(resp.PrevKvs) != 2 ||
		string(resp.PrevKvs[0].Value) != "1" || string(resp.PrevKvs[1].Value) != "2" {
		t.Errorf("delete of a prefix responds %v, %v; want two keys at one revision, %d", resp, err, last+1)
	}
	resp, err = f.Delete(f.ctx, "c")
	if err != nil || resp.Deleted != 1 || len(resp.PrevKvs) != 0 {
		t.Errorf("delete of one key responds %v, %v", resp, err)
	}
	if got := keys(f.get("\x00", clientv3.WithFromKey())); !slices.Equal(got, []string{"b"}) {
		t.Errorf("left are %v, want b", got)
	}
	if got := keys(f.get("\x00", clientv3.WithFromKey(), clientv3.WithRev(last))); len(got) != 4 {
		t.Errorf("before the deletes there were %v, want 4 keys", got)
	}
	n := f.put("a", "again")[0]
	if kv := f.get("a").Kvs[0]; kv.Version != 1 || kv.CreateRevision != n {
		t.Errorf("a key created again is %v, want version 1, create revision %d", kv, n)
	}
	_, err = f.Delete(f.ctx, "")
	f.wantError("delete of an empty key", err, rpctypes.ErrEmptyKey)
	if resp, err = f.Delete(f.ctx, "a", clientv3.WithFromKey()); err != nil || resp.Deleted != 2 {
		t.Errorf("delete from a key responds %v, %v; want 2", resp, err)
	}
}

func TestCompact(t *testing.T) {
	f := start(t)
	r := f.put("k", "1", "k", "2", "k", "3")
	_, err := f.Compact(f.ctx, r[2]+1)
	f.wantError("compact in the future", err, rpctypes.ErrFutureRev)
	resp, err := f.Compact(f.ctx, r[1], clientv3.WithCompactPhysical())
	if err != nil || resp.Header.Revision != r[2] {
		t.Errorf("compact responds %v, %v; want header revision %d", resp, err, r[2])
	}
	_, err = f.Compact(f.ctx, r[1])
	f.wantError("compact again", err, rpctypes.ErrCompacted)
	_, err = f.Compact(f.ctx, r[0])
	f.wantError("compact lower", err, rpctypes.ErrCompacted)
	if got := f.get("k", clientv3.WithRev(r[1])); string(got.Kvs[0].Value) != "2" {
		t.Errorf("the version at the compacted revision is missing: %v", got)
	}
	if got := f.put("k", "4")[0]; got != r[2]+1 {
		t.Errorf("a put after the compaction has revision %d, want %d: a compaction does not move it", got, r[2]+1)
	}
}
