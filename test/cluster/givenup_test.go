package cluster

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/test/fleet"
)

// givenUp is how long clients of TestGivenUpWrites wait for their writes.
const givenUp = 300 * time.Millisecond

// TestGivenUpWrites pauses a majority and has clients of the remaining member give their writes up.
// None of them may be executed after the majority has resumed: not those that wait in the member,
// nor those that were sent to a paused leader.
//
// A leader that has not found out yet that it is alone appends what it gets to its log, where it
// stays: raft takes nothing back. So the clients of a leader write once it has no leader.
func TestGivenUpWrites(t *testing.T) {
	for name, leads := range map[string]bool{"of a follower": false, "of the leader": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := start(t, 3)
			c.givenUp(c.pauseOthers(leads), !leads)
		})
	}
}

// pauseOthers pauses all members except the leader or a follower, and returns that one.
func (c *cluster) pauseOthers(leads bool) (last *fleet.Member) {
	c.t.Helper()
	for {
		last = c.leader()
		if !leads {
			last = c.others(last)[0]
		}
		client := c.client(last)
		c.put(client, "/kept", "v")
		c.put(client, "/v2kept", "v")
		for _, m := range c.others(last) {
			c.must(m.Pause())
		}
		// A busy machine may have elected another leader meanwhile.
		if s, err := c.Status(c.ctx, last); err == nil && (s.Leader == last.ID()) == leads {
			return last
		}
		for _, m := range c.others(last) {
			c.must(m.Resume())
		}
	}
}

// givenUp is TestGivenUpWrites with the only member that runs; atOnce also writes while the member
// still knows a leader.
func (c *cluster) givenUp(last *fleet.Member, atOnce bool) {
	t := c.t
	t.Helper()
	client := c.client(last)
	if atOnce {
		c.giveUpWrites(client, last, "/early")
	}
	c.await("the member to be without a leader", func() bool {
		_, body, err := last.Get(c.ctx, "/health?serializable=false")
		return err == nil && strings.Contains(string(body), "RAFT NO LEADER")
	})
	kvs := etcdserverpb.NewKVClient(client.ActiveConnection()) // clientv3's own would retry for seconds
	c.await("prompt responses without a leader", func() bool { // not each one on a busy machine
		asked := time.Now()
		if status, _, err := last.Get(c.ctx, "/readyz"); err != nil || status != http.StatusServiceUnavailable {
			t.Fatalf("/readyz without a leader: %d, %v", status, err)
		}
		if _, err := kvs.Range(clientv3.WithRequireLeader(c.ctx), &etcdserverpb.RangeRequest{Key: []byte("/kept")}); err == nil {
			t.Fatal("a read that requires a leader was served without one")
		}
		return time.Since(asked) < 3*electionTimeout
	})
	c.giveUpWrites(client, last, "/late")
	for _, m := range c.others(last) {
		c.must(m.Resume())
	}
	c.must(c.AwaitHealthy(c.ctx))
	// Messages already sent are ahead of later writes on the same connections, and what waits in a
	// queue goes out as soon as there is a leader: some writes after that, it would be there.
	barrier := c.client(c.Members()...)
	for end := time.Now().Add(2 * electionTimeout); time.Now().Before(end); {
		c.put(client, "/barrier", "x")
		c.put(barrier, "/barrier", "y")
	}
	var resp *clientv3.GetResponse
	c.await("a read of all keys", func() (ok bool) {
		var err error
		resp, err = client.Get(c.ctx, "/", clientv3.WithPrefix())
		return err == nil
	})
	left := map[string]string{}
	for _, kv := range resp.Kvs {
		left[string(kv.Key)] = string(kv.Value)
	}
	if delete(left, "/barrier"); len(left) != 2 || left["/kept"] != "v" || left["/v2kept"] != "v" {
		t.Errorf("keys after writes that were given up: %v", left)
	}
	c.await("a list of the leases", func() bool {
		leases, err := client.Leases(c.ctx)
		if err == nil && len(leases.Leases) > 0 {
			t.Fatalf("leases after grants that were given up: %v", leases)
		}
		return err == nil
	})
	c.equal()
}

// giveUpWrites sends a write of each kind and gives it up.
func (c *cluster) giveUpWrites(client *clientv3.Client, m *fleet.Member, prefix string) {
	c.t.Helper()
	var all sync.WaitGroup
	try := func(what string, do func(ctx context.Context) error) {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(c.ctx, givenUp)
			defer cancel()
			if do(ctx) == nil {
				c.t.Errorf("%s%s was acknowledged without a majority", what, prefix)
			}
		})
	}
	try("put", func(ctx context.Context) error { _, err := client.Put(ctx, prefix+"/put", "x"); return err })
	try("txn", func(ctx context.Context) error {
		_, err := client.Txn(ctx).Then(clientv3.OpPut(prefix+"/txn", "x")).Commit()
		return err
	})
	try("delete", func(ctx context.Context) error { _, err := client.Delete(ctx, "/kept"); return err })
	try("grant", func(ctx context.Context) error { _, err := client.Grant(ctx, 600); return err })
	try("v2 set", func(ctx context.Context) error {
		_, _, err := m.Do(ctx, http.MethodPut, "/v2/keys"+prefix+"/v2", "value=x")
		return err
	})
	try("v2 delete", func(ctx context.Context) error {
		_, _, err := m.Do(ctx, http.MethodDelete, "/v2/keys/v2kept", "")
		return err
	})
	all.Wait()
}
