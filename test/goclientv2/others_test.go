package goclientv2

import (
	"slices"
	"testing"

	"go.etcd.io/etcd/client/v2"
)

func TestMembers(t *testing.T) {
	f := start(t)
	c := f.connect("", "")
	if err := c.Sync(f.ctx); err != nil || !slices.Equal(c.Endpoints(), []string{f.server.URL()}) {
		t.Errorf("endpoints after Sync: %q, %v", c.Endpoints(), err)
	}
	members := client.NewMembersAPI(c)
	list, err := members.List(f.ctx)
	if err != nil || len(list) != 1 {
		t.Fatalf("members: %+v, %v", list, err)
	}
	leader, err := members.Leader(f.ctx)
	if err != nil || leader.ID != list[0].ID || leader.Name != "default" {
		t.Errorf("leader: %+v, %v", leader, err)
	}
	if err := members.Update(f.ctx, list[0].ID, list[0].PeerURLs); err != nil {
		t.Errorf("update with its own URLs: %v", err)
	}
	if err := members.Update(f.ctx, "123", []string{"http://127.0.0.1:1"}); err == nil {
		t.Error("a member that there is not was updated")
	}
	if v, err := c.GetVersion(f.ctx); err != nil || v.Server == "" || v.Cluster == "" {
		t.Errorf("version: %+v, %v", v, err)
	}
}

func TestAuth(t *testing.T) {
	f := start(t)
	anonymous := f.connect("", "")
	users, roles := client.NewAuthUserAPI(anonymous), client.NewAuthRoleAPI(anonymous)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(users.AddUser(f.ctx, "root", "top"))
	must(users.AddUser(f.ctx, "ann", "pw"))
	must(roles.AddRole(f.ctx, "app"))
	_, err := roles.GrantRoleKV(f.ctx, "app", []string{"/app/*"}, client.ReadWritePermission)
	must(err)
	if u, err := users.GrantUser(f.ctx, "ann", []string{"app"}); err != nil || !slices.Equal(u.Roles, []string{"app"}) {
		t.Errorf("granted: %+v, %v", u, err)
	}
	must(client.NewAuthAPI(anonymous).Enable(f.ctx))
	root := f.connect("root", "top")
	users, roles = client.NewAuthUserAPI(root), client.NewAuthRoleAPI(root)
	if _, err := roles.RevokeRoleKV(f.ctx, "guest", []string{"/*"}, client.ReadWritePermission); err != nil {
		t.Fatal(err)
	}
	ann := client.NewKeysAPI(f.connect("ann", "pw"))
	f.must(ann.Set(f.ctx, "/app/k", "v", nil))
	_, err = ann.Set(f.ctx, "/other", "v", nil)
	f.wantCode(err, client.ErrorCodeUnauthorized)
	_, err = f.Get(f.ctx, "/app/k", nil)
	f.wantCode(err, client.ErrorCodeUnauthorized)
	// A new password applies at once, even if the old one is cached.
	_, err = users.ChangePassword(f.ctx, "ann", "new")
	must(err)
	_, err = ann.Get(f.ctx, "/app/k", nil)
	f.wantCode(err, client.ErrorCodeUnauthorized)
	f.must(client.NewKeysAPI(f.connect("ann", "new")).Get(f.ctx, "/app/k", nil))
	if list, err := users.ListUsers(f.ctx); err != nil || !slices.Equal(list, []string{"ann", "root"}) {
		t.Errorf("users: %q, %v", list, err)
	}
	if list, err := roles.ListRoles(f.ctx); err != nil || !slices.Equal(list, []string{"app", "guest", "root"}) {
		t.Errorf("roles: %q, %v", list, err)
	}
	must(client.NewAuthAPI(root).Disable(f.ctx))
	f.must(f.Get(f.ctx, "/app/k", nil))
}
