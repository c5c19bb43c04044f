package tls_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

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
	users := overHTTP(http.MethodGet, "/v2/auth/users", "")
	if err := users(ctx, "https", m.client, c.client("root")); err != nil {
		t.Errorf("v2 with root's certificate: %v", err)
	}
	if err := users(ctx, "https", m.client, c.client("wrong CN")); err == nil {
		t.Error("v2 with a stranger's certificate lists users")
	}
	put := overHTTP(http.MethodPost, "/v3/kv/put", `{"key":"L2E=","value":"Mw=="}`)
	if err := put(ctx, "https", m.client, c.client("root")); err == nil || !strings.Contains(err.Error(), "user name is empty") {
		t.Errorf("JSON with root's certificate: %v", err)
	}
}
