package goclient

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"cairn/test/harness"
)

func (f *fixture) grant(ttl int64) clientv3.LeaseID {
	f.t.Helper()
	resp, err := f.Grant(f.ctx, ttl)
	if err != nil || resp.ID <= 0 || resp.TTL != ttl {
		f.t.Fatalf("grant responds %+v, %v", resp, err)
	}
	return resp.ID
}

// putBriefly puts keys with a new lease. On a machine that stops for some seconds a lease expires
// before its first key is put: then it does so again.
func (f *fixture) putBriefly(ttl int64, keys ...string) clientv3.LeaseID {
	f.t.Helper()
	for {
		id, put := f.grant(ttl), 0
		for _, key := range keys {
			_, err := f.Put(f.ctx, key, "v", clientv3.WithLease(id))
			if errors.Is(err, rpctypes.ErrLeaseNotFound) {
				break
			}
			if err != nil {
				f.t.Fatalf("put %s: %v", key, err)
			}
			put++
		}
		if put == len(keys) {
			return id
		}
	}
}

// chosen grants a lease with an ID that the client chooses, which clientv3 itself does not support.
func (f *fixture) chosen(id, ttl int64) (*etcdserverpb.LeaseGrantResponse, error) {
	resp, err := etcdserverpb.NewLeaseClient(f.ActiveConnection()).LeaseGrant(f.ctx, &etcdserverpb.LeaseGrantRequest{ID: id, TTL: ttl})
	if err != nil {
		return nil, rpctypes.Error(err)
	}
	return resp, nil
}

func TestLeaseGrant(t *testing.T) {
	f := start(t)
	revision := f.put("k", "v")[0]
	for _, id := range []int64{77, -77} {
		if resp, err := f.chosen(id, 60); err != nil || resp.ID != id || resp.TTL != 60 || resp.Header.Revision != revision {
			t.Errorf("grant of a chosen ID responds %v, %v", resp, err)
		}
		_, err := f.chosen(id, 60)
		f.wantError("grant of an ID that has a lease", err, rpctypes.ErrLeaseExist)
	}
	if _, err := f.chosen(0, 9_000_000_000); err != nil {
		t.Error(err)
	}
	_, err := f.chosen(0, 9_000_000_001)
	f.wantError("grant of too long a TTL", err, rpctypes.ErrLeaseTTLTooLarge)
	if resp, err := f.Leases(f.ctx); err != nil || len(resp.Leases) != 3 || resp.Leases[2].ID <= 0 {
		t.Errorf("leases: %+v, %v", resp, err)
	}
	for _, ttl := range []int64{-1, 0, 1} {
		if resp, err := f.chosen(0, ttl); err != nil || resp.ID <= 0 || resp.TTL != 2 {
			t.Errorf("grant of TTL %d responds %v, %v", ttl, resp, err)
		}
	}
}

func TestLeaseKeysAndRevoke(t *testing.T) {
	f := start(t)
	id, other := f.grant(100), f.grant(100)
	for _, key := range []string{"b", "a", "c"} {
		if _, err := f.Put(f.ctx, key, "v", clientv3.WithLease(id)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.Put(f.ctx, "c", "w", clientv3.WithLease(other)); err != nil {
		t.Fatal(err)
	}
	resp, err := f.TimeToLive(f.ctx, id, clientv3.WithAttachedKeys())
	if err != nil || resp.GrantedTTL != 100 || resp.TTL < 80 || resp.TTL > 100 || len(resp.Keys) != 2 || string(resp.Keys[0]) != "a" {
		t.Errorf("time to live: %+v, %v", resp, err)
	}
	before := resp.Revision
	watch := f.Watch(f.ctx, "", clientv3.WithPrefix(), clientv3.WithRev(before+1))
	revoked, err := f.Revoke(f.ctx, id)
	if err != nil || revoked.Header.Revision != before+1 {
		t.Errorf("revoke: %+v, %v", revoked, err)
	}
	heard := <-watch
	if len(heard.Events) != 2 || heard.Events[0].Type != clientv3.EventTypeDelete || string(heard.Events[0].Kv.Key) != "a" ||
		heard.Events[1].Kv.ModRevision != before+1 {
		t.Errorf("watchers receive %+v", heard)
	}
	if got := keys(f.get("", clientv3.WithPrefix())); !slices.Equal(got, []string{"c"}) {
		t.Errorf("after the revocation: %q", got)
	}
	_, err = f.Revoke(f.ctx, id)
	f.wantError("revoke again", err, rpctypes.ErrLeaseNotFound)
	_, err = f.KeepAliveOnce(f.ctx, id)
	f.wantError("renew a revoked lease", err, rpctypes.ErrLeaseNotFound)
	if resp, err := f.TimeToLive(f.ctx, id); err != nil || resp.TTL != -1 || resp.GrantedTTL != 0 {
		t.Errorf("time to live of a revoked lease: %+v, %v", resp, err)
	}
}

// TestLeaseExpiry: keys are deleted when their lease expires and not while it is kept alive, and
// watchers receive the deletes.
func TestLeaseExpiry(t *testing.T) {
	f := start(t)
	const keptTTL = 5 // seconds; a shorter one could expire on a machine that stops for some seconds
	kept := f.putBriefly(keptTTL, "kept")
	alive, err := f.KeepAlive(f.ctx, kept)
	if err != nil {
		t.Fatal(err)
	}
	renewing := time.Now()
	watch := f.Watch(f.ctx, "", clientv3.WithPrefix(), clientv3.WithFilterPut())
	began := time.Now()
	f.putBriefly(2, "short")
	heard := <-watch
	if len(heard.Events) != 1 || string(heard.Events[0].Kv.Key) != "short" {
		t.Errorf("watchers receive %+v", heard)
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("a lease of 2 s expires after %v", took)
	}
	for time.Since(renewing) < (keptTTL+1)*time.Second { // the client renews three times in a TTL
		if resp, ok := <-alive; !ok || resp.TTL != keptTTL {
			t.Fatalf("keep alive responds %v, %v", resp, ok)
		}
	}
	if len(f.get("kept").Kvs) != 1 {
		t.Errorf("after %v the lease that is kept alive has expired", time.Since(renewing))
	}
	if resp, err := f.Leases(f.ctx); err != nil || len(resp.Leases) != 1 || resp.Leases[0].ID != kept {
		t.Errorf("leases: %+v, %v", resp, err)
	}
}

// TestLeaseRestart: a restart does not extend a lease.
func TestLeaseRestart(t *testing.T) {
	f := start(t)
	long := f.putBriefly(1000, "long")
	f.putBriefly(4, "short")
	var before *clientv3.LeaseTimeToLiveResponse
	var err error
	for before == nil || before.TTL > 998 {
		if before, err = f.TimeToLive(f.ctx, long); err != nil {
			t.Fatal(err)
		}
		f.put("clock", "tick") // writes the cluster time to the log
	}
	f.server.Kill()
	f.server.Restart()
	after, err := f.TimeToLive(f.ctx, long, clientv3.WithAttachedKeys())
	if err != nil || after.TTL > before.TTL || after.TTL < before.TTL-300 || after.GrantedTTL != 1000 || len(after.Keys) != 1 {
		t.Errorf("before the restart %+v, after it %+v, %v", before, after, err)
	}
	harness.Await(t, "the lease expires after the restart", func() bool { return len(f.get("short").Kvs) == 0 })
}

// TestConcurrency runs the recipes that are based on leases: a session, a mutex that is released
// when its holder's session ends, and an election.
func TestConcurrency(t *testing.T) {
	f := start(t)
	session := func() *concurrency.Session {
		s, err := concurrency.NewSession(f.Client, concurrency.WithTTL(60), concurrency.WithContext(f.ctx))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	one, two := session(), session()
	first, second := concurrency.NewMutex(one, "/lock"), concurrency.NewMutex(two, "/lock")
	if err := first.Lock(f.ctx); err != nil {
		t.Fatal(err)
	}
	if err := second.TryLock(f.ctx); !errors.Is(err, concurrency.ErrLocked) {
		t.Errorf("a mutex that is held: %v", err)
	}
	locked := make(chan error, 1)
	go func() { locked <- second.Lock(f.ctx) }()
	if err := one.Close(); err != nil {
		t.Error(err)
	}
	if err := <-locked; err != nil {
		t.Error(err)
	}
	leader := concurrency.NewElection(two, "/election")
	if err := leader.Campaign(f.ctx, "two"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(f.ctx, time.Minute)
	defer cancel()
	if resp, err := leader.Leader(ctx); err != nil || string(resp.Kvs[0].Value) != "two" {
		t.Errorf("the leader is %v, %v", resp, err)
	}
	if err := leader.Resign(ctx); err != nil {
		t.Error(err)
	}
	if _, err := leader.Leader(ctx); !errors.Is(err, concurrency.ErrElectionNoLeader) {
		t.Errorf("after the resignation: %v", err)
	}
}
