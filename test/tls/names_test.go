package tls_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/test/pki"
)

// TestCommonName uses the common name of a client certificate as the user where etcd does, and not
// elsewhere.
func TestCommonName(t *testing.T) {
	c := makeCertificates(t)
	root := c.ca.Issue(t, pki.Spec{CommonName: "root"})
	c.shown["root"] = root
	m := newMember(t, "m")
	m.start(t, t.TempDir(), "https", "http", []*member{m}, c.mutual("")...)
	m.await(t, ready)
	as := func(kind string) *clientv3.Client {
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{"https://" + m.client}, TLS: c.client(kind), Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close() })
		return client
	}
	ctx, cancel := within(60 * time.Second)
	defer cancel()
	admin := as("root")
	_, err := admin.UserAdd(ctx, "root", "pw")
	if err == nil {
		_, err = admin.UserGrantRole(ctx, "root", "root")
	}
	if err == nil {
		_, err = admin.AuthEnable(ctx)
	}
	if err == nil {
		_, err = admin.Put(ctx, "/a", "1")
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := as("wrong CN").Put(ctx, "/a", "2"); err == nil {
		t.Error("a common name that is no user's may write")
	}
	testStranger(ctx, t, admin, as("wrong CN"))
	users := overHTTP(http.MethodGet, "/v2/auth/users", "")
	if err := users(ctx, "https", m.client, c.client("root")); err != nil {
		t.Errorf("v2 with root's certificate: %v", err)
	}
	if err := users(ctx, "https", m.client, c.client("wrong CN")); err == nil {
		t.Error("v2 with a stranger's certificate lists users")
	}
	unknown := "the common name of a client's certificate is the name of no user common_name=stranger"
	if n := strings.Count(m.log.String(), unknown); n != 1 {
		t.Errorf("the common name that is no user's is logged %d times, want once for all requests", n)
	}
	put := overHTTP(http.MethodPost, "/v3/kv/put", `{"key":"L2E=","value":"Mw=="}`)
	if err := put(ctx, "https", m.client, c.client("root")); err == nil || !strings.Contains(err.Error(), "user name is empty") {
		t.Errorf("JSON with root's certificate: %v", err)
	}
}

// testStranger calls with a certificate whose common name is the name of no user: as in etcd it is
// identified, and has no permissions.
func testStranger(ctx context.Context, t *testing.T, admin, client *clientv3.Client) {
	permitted := func(what string, err error) {
		if err != nil {
			t.Errorf("a stranger, %s: %v", what, err)
		}
	}
	refused := func(what string, err, want error) {
		if err == nil || err.Error() != want.Error() {
			t.Errorf("a stranger, %s: %v, want %v", what, err, want)
		}
	}
	_, err := client.Get(ctx, "/a")
	refused("get", err, rpctypes.ErrPermissionDenied)
	_, err = client.MemberList(ctx)
	permitted("member list", err)
	_, err = client.Status(ctx, client.Endpoints()[0])
	permitted("status", err)
	_, err = client.AlarmList(ctx)
	permitted("alarm list", err)
	own, err := client.Grant(ctx, 60)
	permitted("lease grant", err)
	_, err = client.KeepAliveOnce(ctx, own.ID)
	permitted("lease keep-alive", err)
	_, err = client.Revoke(ctx, own.ID)
	permitted("lease revoke", err)
	other, err := admin.Grant(ctx, 60)
	if err == nil {
		_, err = admin.Put(ctx, "/leased", "", clientv3.WithLease(other.ID))
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Revoke(ctx, other.ID)
	refused("revoke of a lease with a key", err, rpctypes.ErrPermissionDenied)
	if r := <-client.Watch(ctx, "/a"); r.Err() == nil {
		t.Error("a stranger watches a key")
	}
	for what, call := range map[string]func() error{
		"user list":    func() error { _, err := client.UserList(ctx); return err },
		"user get":     func() error { _, err := client.UserGet(ctx, "stranger"); return err },
		"role get":     func() error { _, err := client.RoleGet(ctx, "root"); return err },
		"role add":     func() error { _, err := client.RoleAdd(ctx, "r"); return err },
		"member add":   func() error { _, err := client.MemberAdd(ctx, []string{"http://127.0.0.1:1"}); return err },
		"auth disable": func() error { _, err := client.AuthDisable(ctx); return err },
	} {
		refused(what, call(), rpctypes.ErrUserNotFound)
	}
}
