package member

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"cairn/internal/kv"
	"cairn/internal/lease"
	"cairn/internal/machine"
	"cairn/internal/mvcc"
)

func grantLease(t *testing.T, m *Member, id kv.LeaseID, ttl int64) {
	t.Helper()
	c := lease.Command{Kind: lease.KindGrant, ID: id, TTL: ttl}
	if _, err := m.Propose(context.Background(), machine.KindLease, c.Append(nil)); err != nil {
		t.Fatal(err)
	}
	put := mvcc.PutOp{Key: []byte("leased"), Value: []byte("x"), Lease: id}
	if _, err := m.Propose(context.Background(), machine.KindPut, machine.AppendPut(nil, &put)); err != nil {
		t.Fatal(err)
	}
}

func renewLease(t *testing.T, m *Member, id kv.LeaseID) (ttl int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ttls := []int64{0}
	revision, err := m.RenewLeases(ctx, []kv.LeaseID{id}, ttls)
	if err != nil || revision == 0 {
		t.Fatalf("renew lease %d: revision %d, %v", id, revision, err)
	}
	return ttls[0]
}

// TestRenewals: a sole member renews a lease in memory, writing little, ends it one TTL after the
// last renewal, and a restart ends it no earlier.
func TestRenewals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		m := start(t, testConfig(d))
		grantLease(t, m, 7, 10)
		const renewals = 100
		before, _ := m.RaftStatus()
		for range renewals {
			time.Sleep(3 * time.Second)
			if ttl := renewLease(t, m, 7); ttl != 10 {
				t.Fatalf("renewed for %d s", ttl)
			}
		}
		// One extension for each half minute, beside an entry a second with the cluster time.
		after, _ := m.RaftStatus()
		if written := int(after - before); written > 3*renewals+renewals/2 {
			t.Errorf("%d renewals in %d s made %d entries", renewals, 3*renewals, written)
		}
		time.Sleep(9500 * time.Millisecond)
		expect(t, m, "leased", "x")
		time.Sleep(time.Second)
		if _, ok := keys(t, m)["leased"]; ok {
			t.Error("the lease outlived its TTL")
		}
		if ttl := renewLease(t, m, 7); ttl != 0 {
			t.Errorf("an ended lease was renewed for %d s", ttl)
		}

		grantLease(t, m, 8, 10)
		time.Sleep(5 * time.Second)
		renewLease(t, m, 8)
		closeMember(t, m)
		time.Sleep(time.Hour)
		m = start(t, testConfig(d))
		time.Sleep(9500 * time.Millisecond)
		expect(t, m, "leased", "x")
		time.Sleep(2 * time.Second) // at most a TTL after the election, and an interval of checking
		if _, ok := keys(t, m)["leased"]; ok {
			t.Error("after a restart the lease outlived its TTL")
		}
		closeMember(t, m)
	})
}

// TestRenewAtOnce: a renewal that need not wait, and those that must.
func TestRenewAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t, testConfig(newDisk(t)))
		grantLease(t, m, 7, 10)
		time.Sleep(time.Second)
		if _, _, ok := m.RenewAtOnce(7); ok {
			t.Error("renewed beyond the deadline in the state")
		}
		renewLease(t, m, 7)
		time.Sleep(time.Second)
		if ttl, revision, ok := m.RenewAtOnce(7); !ok || ttl != 10 || revision != m.Keys().Head().Revision {
			t.Errorf("renewed for %d s at revision %d: %v", ttl, revision, ok)
		}
		if _, _, ok := m.RenewAtOnce(8); ok {
			t.Error("renewed a lease that does not exist")
		}
		closeMember(t, m)
	})
}

// TestRenewThroughFollower: followers renew through the leader, show its deadline, and renew by
// command when they cannot call it.
func TestRenewThroughFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startTrio(t)
		leader, follower := c.leader(), c.follower()
		grantLease(t, leader, 7, 60)
		var many []kv.LeaseID
		for range 20 {
			many = append(many, 7, 9) // there is no lease 9
		}
		ttls := make([]int64, len(many))
		if _, err := follower.RenewLeases(context.Background(), many, ttls); err != nil {
			t.Fatal(err)
		}
		for i, id := range many {
			if want := map[kv.LeaseID]int64{7: 60, 9: 0}[id]; ttls[i] != want {
				t.Errorf("lease %d was renewed for %d s, want %d", id, ttls[i], want)
			}
		}
		if n := leader.Promises().Len(); n != 1 {
			t.Errorf("the leader has %d leases in memory", n)
		}
		await(t, "the extension on the follower", func() bool {
			l, ok, err := lease.Get(follower.Keys().Reading(), 7)
			return ok && err == nil && l.Ahead > 0
		})
		l, _, err := lease.Get(follower.Keys().Reading(), 7)
		if err != nil {
			t.Fatal(err)
		}
		now := follower.ClusterTime()
		if left := time.Duration(follower.Deadline(context.Background(), now, &l) - now); left > 60*time.Second {
			t.Errorf("a follower shows %v, the leader has promised a minute", left)
		}
		// Calls fail, but raft's messages arrive.
		for _, link := range c.net.handlers {
			delete(link.calls, "lease/renew")
			link.calls["lease/renew"] = func(context.Context, uint64, []byte) ([]byte, error) {
				return nil, errors.New("unknown call")
			}
		}
		entries, _ := follower.RaftStatus()
		if ttl := renewLease(t, follower, 7); ttl != 60 {
			t.Errorf("renewed by command for %d s", ttl)
		}
		if after, _ := follower.RaftStatus(); after == entries {
			t.Error("the renewal made no entry")
		}
	})
}

// TestStaleLeaderRenewsNothing: a leader that is cut off confirms no renewal, and the next leader
// keeps the lease for a TTL.
func TestStaleLeaderRenewsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startTrio(t)
		old := c.leader()
		grantLease(t, old, 7, 60)
		renewLease(t, old, 7)
		c.net.setCut(old.ID(), true)
		ctx, cancel := context.WithTimeout(context.Background(), 400*time.Millisecond)
		defer cancel()
		ttls := []int64{0}
		if _, err := old.RenewLeases(ctx, []kv.LeaseID{7}, ttls); err == nil {
			t.Error("a disconnected leader has confirmed a renewal")
		}
		var others []uint64
		for id := range c.members {
			if id != old.ID() {
				others = append(others, id)
			}
		}
		next := c.leaderOf(others...)
		if ttl := renewLease(t, next, 7); ttl != 60 {
			t.Errorf("the next leader renews for %d s", ttl)
		}
		await(t, "the old leader to step down", func() bool { return !old.leads.Load() })
		await(t, "the old leader to forget its promises", func() bool { return old.Promises().Len() == 0 })
		c.net.setCut(old.ID(), false)
		if ttl := renewLease(t, old, 7); ttl != 60 {
			t.Errorf("through the old leader: %d s", ttl)
		}
	})
}
