package goclient

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv2 "go.etcd.io/etcd/client/v2"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/test/harness"
)

// me returns the sole member of the list.
func (f *fixture) me(options ...clientv3.OpOption) *etcdserverpb.Member {
	f.t.Helper()
	resp, err := f.MemberList(f.ctx, options...)
	if err != nil {
		f.t.Fatal(err)
	}
	if len(resp.Members) != 1 || resp.Header.MemberId != resp.Members[0].ID || resp.Header.ClusterId == 0 || resp.Header.Revision != 0 {
		f.t.Fatalf("got %v", resp)
	}
	return resp.Members[0]
}

func TestMembers(t *testing.T) {
	f := start(t)
	me := f.me()
	if me.Name != "default" || !slices.Equal(me.ClientURLs, []string{f.server.URL()}) || len(me.PeerURLs) != 1 || me.IsLearner {
		t.Errorf("got %v", me)
	}
	if err := f.Sync(f.ctx); err != nil {
		t.Error(err)
	}
	if got := f.Endpoints(); !slices.Equal(got, []string{f.server.URL()}) {
		t.Errorf("after Sync the endpoints are %v", got)
	}

	wanted := []string{"http://127.0.0.1:29202", "http://127.0.0.1:29201"}
	updated, err := f.MemberUpdate(f.ctx, me.ID, wanted)
	if err != nil || len(updated.Members) != 1 || !slices.Equal(updated.Members[0].PeerURLs, wanted) {
		t.Fatalf("update responds %v, %v", updated, err)
	}
	for _, option := range []clientv3.OpOption{clientv3.WithSerializable(), nil} {
		var options []clientv3.OpOption
		if option != nil {
			options = append(options, option)
		}
		if got := f.me(options...); !slices.Equal(got.PeerURLs, wanted) || got.Name != "default" {
			t.Errorf("after the update: %v", got)
		}
	}
	f.server.Kill()
	f.server.Restart()
	if got := f.me(); !slices.Equal(got.PeerURLs, wanted) {
		t.Errorf("after a crash: %v", got)
	}

	_, err = f.MemberUpdate(f.ctx, 0xff, wanted)
	f.wantError("update of an unknown member", err, rpctypes.ErrMemberNotFound)
	// This client checks URLs itself; others may not.
	rpc := etcdserverpb.NewClusterClient(f.ActiveConnection())
	for _, bad := range [][]string{nil, {"ftp://127.0.0.1:1"}, {"http://127.0.0.1:1", "http://127.0.0.1"}} {
		_, err = rpc.MemberUpdate(f.ctx, &etcdserverpb.MemberUpdateRequest{ID: me.ID, PeerURLs: bad})
		f.wantError("update to bad URLs", rpctypes.Error(err), rpctypes.ErrMemberBadURLs)
		_, err = rpc.MemberAdd(f.ctx, &etcdserverpb.MemberAddRequest{PeerURLs: bad})
		f.wantError("add with bad URLs", rpctypes.Error(err), rpctypes.ErrMemberBadURLs)
	}
	_, err = f.MemberAdd(f.ctx, wanted[:1])
	f.wantError("add with a URL of another member", err, rpctypes.ErrPeerURLExist)
	if harness.Reference(t) == "" { // etcd compares the texts here
		for _, same := range []string{"http://[::ffff:127.0.0.1]:29201", "http://[::FFFF:7F00:1]:29201", "http://localhost:29201"} {
			_, err = f.MemberAdd(f.ctx, []string{same})
			f.wantError("add with another form of such a URL: "+same, err, rpctypes.ErrPeerURLExist)
		}
	}
	_, err = f.MemberRemove(f.ctx, 0xff)
	f.wantError("removal of an unknown member", err, rpctypes.ErrMemberNotFound)
	_, err = f.MemberRemove(f.ctx, me.ID)
	f.wantError("remove of the only member", err, rpctypes.ErrMemberNotEnoughStarted)
	_, err = f.MemberPromote(f.ctx, 0xff)
	f.wantError("promotion of an unknown member", err, rpctypes.ErrMemberNotFound)
	_, err = f.MemberPromote(f.ctx, me.ID)
	f.wantError("promotion of a voter", err, rpctypes.ErrMemberNotLearner)
}

// TestV2Members lists the members with the official v2 client, and compares them with v3's list.
func TestV2Members(t *testing.T) {
	f := start(t)
	me := f.me()
	client, err := clientv2.New(clientv2.Config{Endpoints: []string{f.server.URL()}, Transport: http.DefaultTransport.(*http.Transport).Clone()})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Sync(f.ctx); err != nil || !slices.Equal(client.Endpoints(), me.ClientURLs) {
		t.Errorf("after Sync the endpoints are %v, %v", client.Endpoints(), err)
	}
	members := clientv2.NewMembersAPI(client)
	list, err := members.List(f.ctx)
	if err != nil || len(list) != 1 || list[0].Name != me.Name || !slices.Equal(list[0].PeerURLs, me.PeerURLs) {
		t.Fatalf("got %+v, %v", list, err)
	}
	leader, err := members.Leader(f.ctx)
	if err != nil || leader.ID != list[0].ID {
		t.Errorf("leader %+v, %v", leader, err)
	}
	if err := members.Update(f.ctx, leader.ID, []string{"http://127.0.0.1:29201"}); err != nil {
		t.Error(err)
	}
	if got := f.me(); !slices.Equal(got.PeerURLs, []string{"http://127.0.0.1:29201"}) {
		t.Errorf("v3 lists %v", got)
	}
	if err := members.Update(f.ctx, "ff", []string{"http://127.0.0.1:29202"}); err == nil {
		t.Error("a member that is not there was changed")
	}
}

// TestStatsStore counts operations of the v2 client, and no others.
func TestStatsStore(t *testing.T) {
	f := start(t)
	client, err := clientv2.New(clientv2.Config{Endpoints: []string{f.server.URL()}, Transport: http.DefaultTransport.(*http.Transport).Clone()})
	if err != nil {
		t.Fatal(err)
	}
	counts := func() (c map[string]int) {
		_, body, _ := f.server.HTTP("GET", "/v2/stats/store", "")
		if err := json.Unmarshal([]byte(body), &c); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		return c
	}
	before := counts()
	keys := clientv2.NewKeysAPI(client)
	expected := map[string]int{}
	do := func(counter string, op func(ctx context.Context) (*clientv2.Response, error)) {
		t.Helper()
		_, err := op(f.ctx)
		// the client does not wrap it
		if code, refused := err.(clientv2.Error); err != nil && !refused { //nolint:errorlint
			t.Fatalf("%s: %v %v", counter, err, code)
		}
		expected[counter]++
	}
	set := func(key string, o *clientv2.SetOptions) func(context.Context) (*clientv2.Response, error) {
		return func(ctx context.Context) (*clientv2.Response, error) { return keys.Set(ctx, key, "v", o) }
	}
	remove := func(key string, o *clientv2.DeleteOptions) func(context.Context) (*clientv2.Response, error) {
		return func(ctx context.Context) (*clientv2.Response, error) { return keys.Delete(ctx, key, o) }
	}
	get := func(key string) func(context.Context) (*clientv2.Response, error) {
		return func(ctx context.Context) (*clientv2.Response, error) { return keys.Get(ctx, key, nil) }
	}
	do("setsSuccess", set("/a", nil))
	do("setsFail", set("/a/b", nil))
	do("createSuccess", set("/b", &clientv2.SetOptions{PrevExist: clientv2.PrevNoExist}))
	do("createFail", set("/b", &clientv2.SetOptions{PrevExist: clientv2.PrevNoExist}))
	do("updateSuccess", set("/b", &clientv2.SetOptions{PrevExist: clientv2.PrevExist}))
	do("updateFail", set("/none", &clientv2.SetOptions{PrevExist: clientv2.PrevExist}))
	do("compareAndSwapSuccess", set("/b", &clientv2.SetOptions{PrevValue: "v"}))
	do("compareAndSwapFail", set("/b", &clientv2.SetOptions{PrevValue: "x"}))
	do("compareAndDeleteFail", remove("/b", &clientv2.DeleteOptions{PrevValue: "x"}))
	do("compareAndDeleteSuccess", remove("/b", &clientv2.DeleteOptions{PrevValue: "v"}))
	do("deleteFail", remove("/b", nil))
	do("deleteSuccess", remove("/a", nil))
	do("getsSuccess", get("/"))
	do("getsFail", get("/none"))
	f.put("/c", "v3")
	f.get("/c")
	after := counts()
	for name := range after {
		if got := after[name] - before[name]; got != expected[name] {
			t.Errorf("%s: %d more, want %d", name, got, expected[name])
		}
	}
	for name := range expected {
		if _, there := after[name]; !there {
			t.Errorf("no %s in %v", name, after)
		}
	}
}
