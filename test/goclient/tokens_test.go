package goclient

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/metadata"

	"cairn/test/harness"
)

// token logs in without the client library.
func (f *fixture) token(user, password string) string {
	f.t.Helper()
	resp, err := f.Authenticate(f.ctx, user, password)
	must(f.t, err)
	return resp.Token
}

// with is a context of requests that carry a token.
func (f *fixture) with(token string) context.Context {
	return metadata.AppendToOutgoingContext(f.ctx, rpctypes.TokenFieldNameGRPC, token)
}

// bearer is a client with a fixed token, which it does not replace when it is refused.
func (f *fixture) bearer(token string) *clientv3.Client {
	f.t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{f.server.URL()}, DialTimeout: time.Minute, Logger: zap.NewNop(), Token: token})
	must(f.t, err)
	f.t.Cleanup(func() { _ = client.Close() }) // the server may have closed its connection
	return client
}

// secured is a server with the user root, password rp, who also has a role other than root.
func secured(t *testing.T, flags ...string) *fixture {
	if other := harness.Reference(t); other != "" {
		t.Skip(other + " has its own kind of tokens")
	}
	f := start(t, flags...)
	_, err := f.UserAdd(f.ctx, "root", "rp")
	_, err1 := f.UserGrantRole(f.ctx, "root", "root")
	_, err2 := f.AuthEnable(f.ctx)
	must(t, err, err1, err2)
	return f
}

// TestTokensOutliveARestart uses a simple token across a restart of the member, and shows what
// makes it invalid.
func TestTokensOutliveARestart(t *testing.T) {
	f := secured(t, "--auth-token-ttl=3600", "--bcrypt-cost=4")
	token := f.token("root", "rp")
	_, err := f.Put(f.with(token), "k", "v")
	must(t, err)
	f.server.Kill()
	f.server.Restart()
	_, err = f.Put(f.with(token), "k", "v")
	must(t, err)
	_, err = f.bearer(token+"x").Put(f.ctx, "k", "v")
	f.wantError("a token with a letter more", err, rpctypes.ErrInvalidAuthToken)
	_, err = f.MemberList(f.ctx)
	f.wantError("members without a token", err, rpctypes.ErrUserEmpty)
	_, err = f.MemberList(f.with(token))
	must(t, err)
	_, err = f.UserChangePassword(f.with(token), "root", "rp")
	must(t, err)
	_, err = f.bearer(token).Put(f.ctx, "k", "v")
	f.wantError("a token of the password before", err, rpctypes.ErrInvalidAuthToken)
}

// TestTokenTTL lets an unused token expire.
func TestTokenTTL(t *testing.T) {
	f := secured(t, "--auth-token-ttl=1", "--bcrypt-cost=4")
	token := f.token("root", "rp")
	for deadline := time.Now().Add(time.Minute); ; {
		// longer than its TTL: also on a slow machine it has expired
		time.Sleep(1100 * time.Millisecond)
		_, err := f.bearer(token).Put(f.ctx, "k", "v")
		if errors.Is(err, rpctypes.ErrInvalidAuthToken) {
			break
		}
		if must(t, err); time.Now().After(deadline) {
			t.Fatal("the token does not expire")
		}
	}
	f.as("root", "rp").put("k", "v") // the client logs in again automatically
}

// TestJWT gets tokens signed with a key in a file.
func TestJWT(t *testing.T) {
	dir := t.TempDir()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	write := func(name, kind string, key any, marshal func(any) ([]byte, error)) string {
		der, err := marshal(key)
		must(t, err)
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	priv := write("priv.pem", "PRIVATE KEY", private, x509.MarshalPKCS8PrivateKey)
	pub := write("pub.pem", "PUBLIC KEY", public, x509.MarshalPKIXPublicKey)
	f := secured(t, "--auth-token", "jwt,pub-key="+pub+",priv-key="+priv+",sign-method=EdDSA,ttl=1h")
	token := f.token("root", "rp")
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWT", token)
	}
	if says, err := base64.RawURLEncoding.DecodeString(parts[1]); err != nil || !strings.Contains(string(says), `"username":"root"`) {
		t.Errorf("the token contains %s, %v", says, err)
	}
	_, err = f.Put(f.with(token), "k", "v")
	must(t, err)
	root := f.as("root", "rp")
	root.put("k", "v")
	_, err = root.RoleAdd(f.ctx, "r")
	must(t, err)
	_, err = f.bearer(token).Put(f.ctx, "k", "v")
	f.wantError("a token of older users and roles", err, rpctypes.ErrAuthOldRevision)
	root.put("k", "v") // the client logs in again automatically
	f.server.Kill()
	f.server.Restart()
	root.put("k", "v")
}

// TestLoginStorm has many clients guess passwords at once, and puts keys meanwhile.
func TestLoginStorm(t *testing.T) {
	f := secured(t)
	token := f.token("root", "rp")
	var guesses atomic.Int64
	var storm sync.WaitGroup
	defer storm.Wait()
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	for range 64 {
		storm.Go(func() {
			for ctx.Err() == nil {
				guesses.Add(1)
				if _, err := f.Authenticate(ctx, "root", "guess"); err == nil {
					t.Error("a guess is accepted as the password")
				}
			}
		})
	}
	harness.Await(t, "64 guesses", func() bool { return guesses.Load() >= 64 })
	const puts = 200
	began := time.Now()
	for range puts {
		_, err := f.Put(f.with(token), "k", "v")
		must(t, err)
	}
	took := time.Since(began)
	before := guesses.Load()
	cancel()
	storm.Wait()
	t.Logf("%d puts in %v beside %d guesses", puts, took, before)
	if before < 64 {
		t.Error("there was no storm")
	}
	f.as("root", "rp").put("k", "v")
}

// TestNothingSecretIsLogged uses passwords and tokens of both dialects correctly and incorrectly,
// and searches for them in a log of all levels.
func TestNothingSecretIsLogged(t *testing.T) {
	f := secured(t, "--log-level=debug")
	secrets := []string{"correct-horse", "battery-staple", "wr0ng-password", "new-passw0rd", "t0ken-of-nobody", "rp"}
	root := f.as("root", "rp")
	_, err := root.UserAdd(f.ctx, "u", secrets[0])
	must(t, err)
	_, err = root.UserChangePassword(f.ctx, "u", secrets[3])
	must(t, err)
	f.v2As(201, "root:rp", "PUT", "/v2/auth/users/v", `{"user":"v","password":"`+secrets[1]+`"}`)
	f.v2As(400, "root:rp", "PUT", "/v2/auth/users/w", `{"user":"w","password":"`+secrets[1]+`"`)
	f.v2As(401, "v:"+secrets[2], "GET", "/v2/keys/a", "")
	f.v2As(401, "v:"+secrets[1], "GET", "/v2/keys/a", "")
	_, err = f.Authenticate(f.ctx, "u", secrets[2])
	f.wantError("wrong password", err, rpctypes.ErrAuthFailed)
	_, err = f.bearer(secrets[4]).Put(f.ctx, "k", "v")
	f.wantError("wrong token", err, rpctypes.ErrInvalidAuthToken)
	token := f.token("u", secrets[3])
	_, err = f.Get(f.with(token), "k")
	f.wantError("get", err, rpctypes.ErrPermissionDenied)
	f.server.Kill()
	f.server.Restart() // the log is replayed
	_, err = f.Get(f.with(token), "k")
	f.wantError("get", err, rpctypes.ErrPermissionDenied)
	f.server.Stop()
	log := f.server.Log()
	if !strings.Contains(log, "ready") {
		t.Fatalf("this is no log:\n%s", log)
	}
	for _, secret := range append(secrets[:5], token, "$2a$", base64.StdEncoding.EncodeToString([]byte("v:"+secrets[1])), "root:rp") {
		if i := strings.Index(log, secret); i >= 0 {
			t.Errorf("the log has %q: …%s…", secret, log[max(0, i-200):min(len(log), i+200)])
		}
	}
}

// TestWatchOfTheRest tries to watch from a readable key to the end of all keys, and through a
// nested transaction.
func TestWatchOfTheRest(t *testing.T) {
	f := guarded(t)
	root, three := f.as("root", "rp"), f.as("v3user", "p3")
	_, err := root.RoleGrantPermission(f.ctx, "pub", "single", "", clientv3.PermissionType(clientv3.PermRead))
	must(t, err)
	watch := func(key string, options ...clientv3.OpOption) error {
		ctx, cancel := context.WithCancel(f.ctx)
		defer cancel()
		resp := <-three.Watch(ctx, key, append(options, clientv3.WithCreatedNotify())...)
		if resp.Created && !resp.Canceled {
			return nil
		}
		return resp.Err()
	}
	must(t, watch("single"), watch("/pub/", clientv3.WithPrefix()))
	for name, err := range map[string]error{
		"to the end":       watch("single", clientv3.WithFromKey()),
		"all":              watch("", clientv3.WithPrefix()),
		"a range":          watch("single", clientv3.WithRange("singlf")),
		"beside":           watch("singl"),
		"beyond":           watch("/pub/", clientv3.WithRange("/pub1")),
		"prefix to end":    watch("/pub/", clientv3.WithFromKey()),
		"of v2's":          watch("/app/", clientv3.WithPrefix()),
		"of a written one": watch("k2", clientv3.WithFromKey()),
	} {
		if err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("watch %s: %v", name, err)
		}
	}
	// A user cannot attach a key to a lease with keys that the user must not write, nor in a
	// transaction.
	lease, err := three.Grant(f.ctx, 600)
	must(t, err)
	_, err = root.Put(f.ctx, "/secret/a", "3", clientv3.WithLease(lease.ID))
	must(t, err)
	_, err = three.Put(f.ctx, "/pub/a", "x", clientv3.WithLease(lease.ID))
	f.wantError("put with the lease", err, rpctypes.ErrPermissionDenied)
	_, err = three.Txn(f.ctx).Then(clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut("/pub/a", "x", clientv3.WithLease(lease.ID))}, nil)).Commit()
	f.wantError("nested put with the lease", err, rpctypes.ErrPermissionDenied)
	_, err = three.Txn(f.ctx).Then(clientv3.OpPut("/pub/a", "x"), clientv3.OpDelete("k1", clientv3.WithPrevKV())).Commit()
	f.wantError("delete of what may only be read", err, rpctypes.ErrPermissionDenied)
}
