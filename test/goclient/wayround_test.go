package goclient

import (
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestWriteOnlyIsNotRead: a user with permission to write keys, but not to read them, does not get
// their values by reading, watching, comparing or prev_kv. (The prevNode of v2's writes is part of
// what v2 grants with a write, as the recordings of etcd show.)
func TestWriteOnlyIsNotRead(t *testing.T) {
	f := guarded(t)
	root := f.as("root", "rp")
	f.v2As(201, "root:rp", "PUT", "/v2/auth/roles/blind", `{"role":"blind","permissions":{"kv":{"read":[],"write":["/blind/*"]}}}`)
	f.v2As(200, "root:rp", "PUT", "/v2/auth/users/bob", `{"user":"bob","password":"pb","roles":["blind"]}`)
	bob := f.as("bob", "pb")
	const hidden = "hidden-value"
	for _, key := range []string{"/blind/a", "/blind/b", "/blind/c", "/blind/d", "/blind/e"} {
		root.put(key, hidden)
	}
	_, err := bob.Put(f.ctx, "/blind/a", "x", clientv3.WithPrevKV())
	f.wantError("put with prev_kv", err, rpctypes.ErrPermissionDenied)
	_, err = bob.Delete(f.ctx, "/blind/a", clientv3.WithPrevKV())
	f.wantError("delete with prev_kv", err, rpctypes.ErrPermissionDenied)
	_, err = bob.Txn(f.ctx).Then(clientv3.OpTxn(nil, nil, []clientv3.Op{clientv3.OpPut("/blind/a", "x", clientv3.WithPrevKV())})).Commit()
	f.wantError("nested put with prev_kv", err, rpctypes.ErrPermissionDenied)
	_, err = bob.Txn(f.ctx).If(clientv3.Compare(clientv3.Value("/blind/a"), "=", hidden)).Commit()
	f.wantError("compare", err, rpctypes.ErrPermissionDenied)
	for _, c := range []struct {
		method, target, body string
	}{
		{"GET", "/v2/keys/blind/d", ""},
		{"GET", "/v2/keys/blind/d?wait=true&waitIndex=2", ""},
		{"GET", "/v2/keys/blind?recursive=true", ""},
	} {
		if got := f.v2Any("bob:pb", c.method, c.target, c.body); strings.Contains(got, hidden) {
			t.Errorf("%s %s by a user with write permission only: %s", c.method, c.target, got)
		}
	}
}

// TestWatchesAndOthersOfV2 tries v2's other requests for keys that v3 did not grant.
func TestWatchesAndOthersOfV2(t *testing.T) {
	f := guarded(t)
	for _, c := range []struct{ method, target, body string }{
		{"GET", "/v2/keys/secret/a?wait=true&waitIndex=1", ""},
		{"GET", "/v2/keys/secret?wait=true&recursive=true&waitIndex=1", ""},
		{"GET", "/v2/keys/?wait=true&recursive=true&waitIndex=1", ""},
		{"GET", "/v2/keys/secret/a?quorum=true", ""},
		{"GET", "/v2/keys/pub/../secret/a", ""},
		{"GET", "/v2/keys/pub/%2e%2e/secret/a", ""},
		{"HEAD", "/v2/keys/secret/a", ""},
		{"POST", "/v2/keys/secret", "value=x"},
		{"PUT", "/v2/keys/secret/a?prevExist=true", "value=x"},
		{"PUT", "/v2/keys/secret/a?prevValue=3", "value=x"},
		{"PUT", "/v2/keys/secret/new", "dir=true"},
		{"DELETE", "/v2/keys/secret/a?prevValue=3", ""},
		{"DELETE", "/v2/keys/secret?recursive=true", ""},
		{"DELETE", "/v2/keys/?recursive=true", ""},
		{"PUT", "/v2/auth/users/v3user", `{"user":"v3user","password":"x"}`},
		{"PUT", "/v2/auth/roles/pub", `{"role":"pub","grant":{"kv":{"read":["*"]}}}`},
		{"DELETE", "/v2/auth/enable", ""},
	} {
		for _, who := range []string{"v3user:p3", "v3user:wrong", "nobody:x", ""} {
			f.v2As(401, who, c.method, c.target, c.body)
		}
	}
	if got := f.as("root", "rp").get("/secret/", clientv3.WithPrefix()); len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "3" {
		t.Errorf("below /secret/: %v", got.Kvs)
	}
}
