package goclient

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"cairn/test/harness"
)

// as returns a client of a user.
func (f *fixture) as(user, password string) *fixture {
	f.t.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{f.server.URL()}, DialTimeout: time.Minute, Logger: zap.NewNop(), Username: user, Password: password,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = client.Close() }) // the server may have closed its connection
	return &fixture{client, f.t, f.server, f.ctx}
}

// v2As sends a request of v2 with credentials, user:password or none, and requires a status.
func (f *fixture) v2As(status int, credentials, method, target, body string) string {
	f.t.Helper()
	got, answer := f.askV2(credentials, method, target, body)
	if got != status {
		f.t.Errorf("%s %s by %q: status %d, want %d: %s", method, target, credentials, got, status, answer)
	}
	return answer
}

// v2Any is v2As with any status.
func (f *fixture) v2Any(credentials, method, target, body string) string {
	f.t.Helper()
	_, answer := f.askV2(credentials, method, target, body)
	return answer
}

func (f *fixture) askV2(credentials, method, target, body string) (status int, answer string) {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.ctx, method, f.server.URL()+target, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	if strings.HasPrefix(target, "/v2/keys") {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if user, password, ok := strings.Cut(credentials, ":"); ok {
		req.SetBasicAuth(user, password)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// guarded is a server with the users root, v2user (/app/* by v2) and v3user ([/pub/, /pub0) and
// [k1, k3) by v3), and with authentication enabled.
func guarded(t *testing.T) *fixture {
	if other := harness.Reference(t); other != "" {
		t.Skip(other + " has users for each dialect")
	}
	f := start(t)
	f.put("/app/a", "1", "/app", "beside", "/pub/a", "2", "/secret/a", "3", "k2", "4", "k3", "5")
	f.v2As(201, "", "PUT", "/v2/auth/users/root", `{"user":"root","password":"rp"}`)
	f.v2As(201, "", "PUT", "/v2/auth/roles/app", `{"role":"app","permissions":{"kv":{"read":["/app/*"],"write":["/app/*"]}}}`)
	f.v2As(200, "", "PUT", "/v2/auth/users/v2user", `{"user":"v2user","password":"p2","roles":["app"]}`)
	_, err := f.UserAdd(f.ctx, "v3user", "p3")
	_, err1 := f.RoleAdd(f.ctx, "pub")
	_, err2 := f.RoleGrantPermission(f.ctx, "pub", "/pub/", "/pub0", clientv3.PermissionType(clientv3.PermReadWrite))
	_, err3 := f.RoleGrantPermission(f.ctx, "pub", "k1", "k3", clientv3.PermissionType(clientv3.PermRead))
	_, err4 := f.UserGrantRole(f.ctx, "v3user", "pub")
	_, err5 := f.AuthEnable(f.ctx)
	must(t, err, err1, err2, err3, err4, err5)
	return f
}

// TestNoDialectCircumventsTheOther tries to access, through each dialect, what the other forbids.
func TestNoDialectCircumventsTheOther(t *testing.T) {
	f := guarded(t)
	prefix := clientv3.WithPrefix()

	// Without credentials: v3 has enabled authentication, so v2 has no guests.
	_, err := f.Get(f.ctx, "/app/a")
	f.wantError("get without a token", err, rpctypes.ErrUserEmpty)
	_, err = f.Compact(f.ctx, 2)
	f.wantError("compact without a token", err, rpctypes.ErrUserEmpty)
	f.v2As(401, "", "GET", "/v2/keys/app/a", "")
	f.v2As(401, "", "PUT", "/v2/keys/new", "value=x")

	// v2's grants apply in v3.
	two := f.as("v2user", "p2")
	if got := keys(two.get("/app/", prefix)); len(got) != 1 || got[0] != "/app/a" {
		t.Errorf("/app/ by v2user: %v", got)
	}
	for _, key := range []string{"/app", "/pub/a", "/secret/a", "k2"} {
		_, err := two.Get(f.ctx, key)
		f.wantError("get "+key, err, rpctypes.ErrPermissionDenied)
		_, err = two.Put(f.ctx, key, "x")
		f.wantError("put "+key, err, rpctypes.ErrPermissionDenied)
		_, err = two.Txn(f.ctx).If(clientv3.Compare(clientv3.Value(key), "=", "1")).Commit()
		f.wantError("compare "+key, err, rpctypes.ErrPermissionDenied)
		nested := clientv3.OpTxn(nil, nil, []clientv3.Op{clientv3.OpDelete(key)})
		_, err = two.Txn(f.ctx).Then(clientv3.OpPut("/app/b", "1"), nested).Commit()
		f.wantError("nested delete of "+key, err, rpctypes.ErrPermissionDenied)
	}
	for what, r := range map[string][2]string{"beyond": {"/app/", "/app1"}, "all": {"\x00", "\x00"}, "to the end": {"/app/", "\x00"}} {
		_, err := two.Get(f.ctx, r[0], clientv3.WithRange(r[1]))
		f.wantError("range "+what, err, rpctypes.ErrPermissionDenied)
		_, err = two.Delete(f.ctx, r[0], clientv3.WithRange(r[1]))
		f.wantError("delete "+what, err, rpctypes.ErrPermissionDenied)
	}
	_, err = two.UserList(f.ctx)
	f.wantError("list users", err, rpctypes.ErrPermissionDenied)

	// v2 shows the directory /app where v3 has the key, which would be deleted with the directory:
	// v2user may not delete it.
	f.v2As(401, "v2user:p2", "GET", "/v2/keys/app", "")
	f.v2As(401, "v2user:p2", "DELETE", "/v2/keys/app/?recursive=true", "")
	f.v2As(401, "v2user:p2", "PUT", "/v2/keys/pub/a", "value=x")

	// v3's grants apply in v2, also those that no pattern of v2 expresses.
	three := f.as("v3user", "p3")
	three.get("k1", clientv3.WithRange("k3"))
	_, err = three.Put(f.ctx, "k2", "x")
	f.wantError("put k2", err, rpctypes.ErrPermissionDenied)
	f.v2As(200, "v3user:p3", "GET", "/v2/keys/pub/a", "")
	f.v2As(200, "v3user:p3", "PUT", "/v2/keys/pub/a", "value=by-v2")
	f.v2As(401, "v3user:p3", "GET", "/v2/keys/secret/a", "")
	f.v2As(401, "v3user:p3", "GET", "/v2/keys/?recursive=true", "")
	f.v2As(401, "v3user:p3", "PUT", "/v2/auth/users/v3user", `{"user":"v3user","grant":["root"]}`)
	_, err = three.UserGrantRole(f.ctx, "v3user", "root")
	f.wantError("grant oneself", err, rpctypes.ErrPermissionDenied)
	if got := f.v2As(200, "root:rp", "GET", "/v2/auth/roles/pub", ""); !strings.Contains(got, `"read":["/pub/*"],"write":["/pub/*"]`) {
		t.Errorf("v2 shows of the role pub: %s", got)
	}
	// v2 matches the path as it was sent, as etcd does: /file/* allows /v2/keys/file/, which is
	// the key /file.
	f.as("root", "rp").put("/pub", "beside")
	root := f.as("root", "rp")
	root.put("/file", "x")
	_, err = root.RoleGrantPermission(f.ctx, "pub", "/file/", "/file0", clientv3.PermissionType(clientv3.PermReadWrite))
	must(t, err)
	f.v2As(200, "v3user:p3", "GET", "/v2/keys/file/", "")
	f.v2As(200, "v3user:p3", "PUT", "/v2/keys/file/", "value=x")
	f.v2As(401, "v3user:p3", "GET", "/v2/keys/file", "")
	f.v2As(401, "v3user:p3", "PUT", "/v2/keys/file", "value=x")
	f.v2As(401, "v3user:p3", "DELETE", "/v2/keys/file", "")

	if got := root.get("/secret/a").Kvs[0]; string(got.Value) != "3" {
		t.Errorf("/secret/a is %q", got.Value)
	}
	if got := root.get("/app").Kvs; len(got) != 1 {
		t.Errorf("/app is gone")
	}
}

// TestExactPermissionOfADirectory: with permission for a directory alone, as v2 grants it, a user
// sees nothing in it that v3 would not show.
func TestExactPermissionOfADirectory(t *testing.T) {
	f := guarded(t)
	root := f.as("root", "rp")
	_, err := root.RoleGrantPermission(f.ctx, "app", "/secret", "", clientv3.PermissionType(clientv3.PermRead))
	must(t, err)
	if got := f.v2As(200, "v2user:p2", "GET", "/v2/keys/secret", ""); strings.Contains(got, "/secret/a") {
		t.Errorf("a directory shows %s", got)
	}
}

// TestCredentialsLapse: a password and a permission are invalid as soon as they are revoked, by
// either dialect.
func TestCredentialsLapse(t *testing.T) {
	f := guarded(t)
	root, two := f.as("root", "rp"), f.as("v2user", "p2")
	two.get("/app/a")
	f.v2As(200, "v2user:p2", "GET", "/v2/keys/app/a", "")
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	watch := two.Watch(ctx, "/app/a", clientv3.WithCreatedNotify())
	if created := <-watch; !created.Created || created.Err() != nil {
		t.Fatalf("watch: %+v", created)
	}

	_, err := root.RoleRevokePermission(f.ctx, "app", "/app/", "/app0") // granted by v2
	must(t, err)
	f.v2As(401, "v2user:p2", "GET", "/v2/keys/app/a", "")
	_, err = two.Get(f.ctx, "/app/a")
	f.wantError("get", err, rpctypes.ErrPermissionDenied)
	root.put("/app/a", "unseen")
	for resp := range watch {
		if len(resp.Events) > 0 {
			t.Errorf("a watch whose permission was revoked received %v", resp.Events)
		}
		if resp.Canceled {
			break
		}
	}

	f.v2As(200, "root:rp", "PUT", "/v2/auth/roles/app", `{"role":"app","grant":{"kv":{"read":["/app/*"]}}}`)
	two.get("/app/a")
	f.v2As(200, "root:rp", "PUT", "/v2/auth/users/v2user", `{"user":"v2user","password":"new"}`)
	f.v2As(401, "v2user:p2", "GET", "/v2/keys/app/a", "")
	f.v2As(200, "v2user:new", "GET", "/v2/keys/app/a", "")
	if _, err := two.Get(f.ctx, "/app/a"); err == nil {
		t.Error("a token is valid after its password has changed")
	}

	_, err = root.UserDelete(f.ctx, "v2user")
	must(t, err)
	f.v2As(401, "v2user:new", "GET", "/v2/keys/app/a", "")
	_, err = root.AuthDisable(f.ctx)
	must(t, err)
	f.v2As(200, "", "GET", "/v2/keys/app/a", "")
}

// TestGuestsOfV2: enabling authentication through v2 keeps the access of v2's guests, and of no
// user of v3.
func TestGuestsOfV2(t *testing.T) {
	if other := harness.Reference(t); other != "" {
		t.Skip(other + " has users for each dialect")
	}
	f := start(t)
	f.put("/a", "1")
	f.v2As(201, "", "PUT", "/v2/auth/users/root", `{"user":"root","password":"rp"}`)
	f.v2As(200, "", "PUT", "/v2/auth/enable", "")
	f.v2As(200, "", "GET", "/v2/keys/a", "")
	f.v2As(200, "", "PUT", "/v2/keys/a", "value=2")
	_, err := f.Get(f.ctx, "/a")
	f.wantError("get", err, rpctypes.ErrUserEmpty)
	_, err = f.Put(f.ctx, "/a", "3")
	f.wantError("put", err, rpctypes.ErrUserEmpty)
	f.v2As(200, "root:rp", "DELETE", "/v2/auth/roles/guest", "")
	f.v2As(401, "", "GET", "/v2/keys/a", "")
	root := f.as("root", "rp")
	if got := root.get("/a").Kvs[0]; string(got.Value) != "2" {
		t.Errorf("/a is %q", got.Value)
	}
}

// TestLeasesOfUsers: a lease allows a user neither to delete nor to learn the keys of others.
func TestLeasesOfUsers(t *testing.T) {
	f := guarded(t)
	root, two := f.as("root", "rp"), f.as("v2user", "p2")
	_, err := f.Grant(f.ctx, 60)
	f.wantError("grant without a token", err, rpctypes.ErrUserEmpty)
	lease, err := two.Grant(f.ctx, 60)
	must(t, err)
	_, err = two.Put(f.ctx, "/app/leased", "1", clientv3.WithLease(lease.ID))
	must(t, err)
	_, err = two.KeepAliveOnce(f.ctx, lease.ID)
	must(t, err)
	_, err = root.Put(f.ctx, "/secret/leased", "2", clientv3.WithLease(lease.ID))
	must(t, err)
	_, err = two.Revoke(f.ctx, lease.ID)
	f.wantError("revoke", err, rpctypes.ErrPermissionDenied)
	_, err = two.TimeToLive(f.ctx, lease.ID, clientv3.WithAttachedKeys())
	f.wantError("keys of the lease", err, rpctypes.ErrPermissionDenied)
	_, err = two.TimeToLive(f.ctx, lease.ID)
	must(t, err)
	renew := func(c *fixture, id clientv3.LeaseID) error {
		_, err := c.KeepAliveOnce(f.ctx, id)
		return err
	}
	f.wantError("renewal of a lease with a key of root", renew(two, lease.ID), rpctypes.ErrPermissionDenied)
	f.wantError("renewal without a token", renew(f, lease.ID), rpctypes.ErrUserEmpty)
	f.wantError("renewal of lease 0 without a token", renew(f, 0), rpctypes.ErrUserEmpty)
	f.wantError("renewal of lease 0", renew(two, 0), rpctypes.ErrLeaseNotFound)
	_, err = two.Leases(f.ctx)
	f.wantError("list of the leases", err, rpctypes.ErrPermissionDenied)
	all, err := root.Leases(f.ctx)
	must(t, err)
	if len(all.Leases) != 1 || all.Leases[0].ID != lease.ID {
		t.Errorf("root's list of leases is %v, want %x", all.Leases, lease.ID)
	}
	if got := root.get("/secret/leased").Count; got != 1 {
		t.Error("a key went with a lease that was not revoked")
	}
	_, err = root.Revoke(f.ctx, lease.ID)
	must(t, err)
	_, err = two.Leases(f.ctx)
	must(t, err)
	watch := two.Watch(f.ctx, "/app/brief")
	two.putBriefly(2, "/app/brief")
	for resp := range watch { // expiry needs no permission
		if len(resp.Events) > 0 && resp.Events[len(resp.Events)-1].Type == clientv3.EventTypeDelete {
			break
		}
	}
}
