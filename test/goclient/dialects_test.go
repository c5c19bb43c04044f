package goclient

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/test/harness"
)

// v2Answer has the checked parts of a response of /v2/keys.
type v2Answer struct {
	Action    string `json:"action"`
	ErrorCode int    `json:"errorCode"`
	Node      v2Node `json:"node"`
	PrevNode  v2Node `json:"prevNode"`
}

type v2Node struct {
	Key           string   `json:"key"`
	Value         string   `json:"value"`
	Dir           bool     `json:"dir"`
	CreatedIndex  int64    `json:"createdIndex"`
	ModifiedIndex int64    `json:"modifiedIndex"`
	Nodes         []v2Node `json:"nodes"`
}

// v2 sends a request to /v2/keys and checks its status.
func (f *fixture) v2(status int, method, target, form string) (answer v2Answer, index string) {
	f.t.Helper()
	got, body, header := f.server.HTTP(method, "/v2/keys"+target, form)
	if got != status {
		f.t.Fatalf("%s %s: status %d, want %d: %s", method, target, got, status, body)
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		f.t.Fatalf("%s %s: %v: %s", method, target, err, body)
	}
	return answer, header.Get("X-Etcd-Index")
}

// TestTwoDialectsOneStore writes keys in each dialect and reads them in the other, with the same
// revisions.
func TestTwoDialectsOneStore(t *testing.T) {
	if other := harness.Reference(t); other != "" {
		t.Skip(other + " has separate stores for v2 and v3 keys")
	}
	f := start(t)
	r := f.put("/app/name", "from v3")[0]
	answer, index := f.v2(http.StatusOK, http.MethodGet, "/app/name", "")
	if n := answer.Node; n.Value != "from v3" || n.CreatedIndex != r || n.ModifiedIndex != r || index != fmt.Sprint(r) {
		t.Errorf("v2 reads %+v at index %s, want revision %d", n, index, r)
	}
	answer, index = f.v2(http.StatusOK, http.MethodPut, "/app/name", "value=from+v2")
	if n := answer.Node; answer.Action != "set" || answer.PrevNode.Value != "from v3" || n.ModifiedIndex != r+1 || index != fmt.Sprint(r+1) {
		t.Errorf("v2's set responds %+v at index %s, want modifiedIndex %d and the value of v3 before", answer, index, r+1)
	}
	kv := f.get("/app/name").Kvs[0]
	if string(kv.Value) != "from v2" || kv.ModRevision != r+1 || kv.CreateRevision != answer.Node.CreatedIndex {
		t.Errorf("v3 reads %v, want mod revision %d and create revision %d", kv, r+1, answer.Node.CreatedIndex)
	}
	answer, _ = f.v2(http.StatusCreated, http.MethodPut, "/app/sub/deep?prevExist=false", "value=x")
	if kv := f.get("/app/sub/deep").Kvs[0]; kv.CreateRevision != r+2 || kv.CreateRevision != answer.Node.CreatedIndex || kv.Version != 1 {
		t.Errorf("v3 reads %v of what v2 created as %+v", kv, answer.Node)
	}
	// A directory of v2 moves the revision and is not a key of v3.
	f.v2(http.StatusCreated, http.MethodPut, "/app/empty?dir=true", "")
	resp := f.get("/app", clientv3.WithPrefix())
	if got := keys(resp); fmt.Sprint(got) != "[/app/name /app/sub/deep]" || resp.Header.Revision != r+3 {
		t.Errorf("v3 lists %v at revision %d, want the two keys at %d", got, resp.Header.Revision, r+3)
	}
	answer, _ = f.v2(http.StatusOK, http.MethodGet, "/app?recursive=true&sorted=true", "")
	if n := answer.Node; !n.Dir || len(n.Nodes) != 3 || n.Nodes[0].Key != "/app/empty" || n.Nodes[1].Key != "/app/name" ||
		len(n.Nodes[2].Nodes) != 1 || n.Nodes[2].Nodes[0].Value != "x" {
		t.Errorf("v2 lists %+v", n)
	}
	// Deletes and conditions use one revision for both dialects.
	n := f.put("/app/name", "again")[0]
	f.v2(http.StatusPreconditionFailed, http.MethodPut, fmt.Sprintf("/app/name?prevIndex=%d", n-1), "value=y")
	f.v2(http.StatusOK, http.MethodPut, fmt.Sprintf("/app/name?prevIndex=%d", n), "value=y")
	txn, err := f.Txn(f.ctx).If(clientv3.Compare(clientv3.ModRevision("/app/name"), "=", n+1)).Then(clientv3.OpDelete("/app/name")).Commit()
	if err != nil || !txn.Succeeded {
		t.Fatalf("a transaction on what v2 wrote: %v, %v", txn, err)
	}
	if answer, _ = f.v2(http.StatusNotFound, http.MethodGet, "/app/name", ""); answer.ErrorCode != 100 {
		t.Errorf("after a delete by v3, v2 responds %+v", answer)
	}
	f.v2(http.StatusOK, http.MethodDelete, "/app?recursive=true", "")
	if resp := f.get("/", clientv3.WithPrefix()); len(resp.Kvs) != 0 || resp.Header.Revision != txn.Header.Revision+1 {
		t.Errorf("after a recursive delete by v2, v3 lists %v at revision %d, want nothing at %d", keys(resp), resp.Header.Revision, txn.Header.Revision+1)
	}
	// Keys that are not clean paths belong to v3 alone.
	f.put("name", "v3", "//x", "v3", "/dir/", "v3")
	if answer, _ = f.v2(http.StatusOK, http.MethodGet, "/?recursive=true", ""); len(answer.Node.Nodes) != 0 {
		t.Errorf("v2 shows %+v of keys that are no clean paths", answer.Node.Nodes)
	}
}

// TestStoreOutlivesItsProcess reads earlier writes after a clean stop and after a kill.
func TestStoreOutlivesItsProcess(t *testing.T) {
	f := start(t)
	r := f.put("a", "1", "b", "2", "a", "3")
	// etcd ends by the signal that it received, which a service manager can see.
	if state := f.server.Stop(); !state.Success() && state.String() != "signal: terminated" {
		t.Errorf("after SIGTERM the server ended with %v", state)
	}
	f.server.Restart()
	if resp := f.get("a"); string(resp.Kvs[0].Value) != "3" || resp.Kvs[0].Version != 2 || resp.Header.Revision != r[2] {
		t.Errorf("after a stop: %v, want revision %d", resp, r[2])
	}
	if kv := f.get("a", clientv3.WithRev(r[1])).Kvs[0]; string(kv.Value) != "1" {
		t.Errorf("after a stop the history has %v", kv)
	}
	f.server.Kill()
	f.server.Restart()
	if n := f.put("c", "4")[0]; n != r[2]+1 {
		t.Errorf("the first put after a kill has revision %d, want %d", n, r[2]+1)
	}
}
