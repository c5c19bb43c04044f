package cluster

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/test/fleet"
	"cairn/test/harness"
	"cairn/test/lan"
)

// hosts is a cluster whose members run on separate hosts.
type hosts struct {
	*cluster
	net *lan.LAN
	at  map[*fleet.Member]int
}

// startHosts bootstraps a cluster of three members on separate hosts. Where these are not permitted
// the test is skipped.
func startHosts(t *testing.T) *hosts {
	t.Helper()
	net, err := lan.New(3)
	if errors.Is(err, lan.ErrNotPermitted) {
		harness.CannotRun(t, "clusters of hosts are not tested: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after the members have ended
		if err := net.Close(); err != nil {
			t.Error(err)
		}
	})
	h := &hosts{startOn(t, 3, fleet.Config{Hosts: net}), net, map[*fleet.Member]int{}}
	for i, m := range h.Members() {
		h.at[m] = i + 1
	}
	return h
}

// cut loses all packets from some members to others.
func (h *hosts) cut(from, to []*fleet.Member) {
	for _, a := range from {
		for _, b := range to {
			if a != b {
				h.net.Set(h.at[a], h.at[b], lan.Rule{Lose: 1})
			}
		}
	}
}

// refuses checks that a member refuses requests that need a majority, and still serves serializable
// reads.
func (h *hosts) refuses(m *fleet.Member) {
	h.t.Helper()
	client := h.client(m)
	ctx, cancel := context.WithTimeout(h.ctx, electionTimeout)
	defer cancel()
	if resp, err := client.Get(ctx, "/k"); err == nil {
		h.t.Errorf("%s, in the minority, served a linearizable read: %v", m.Name, resp.Kvs)
	}
	ctx, cancel = context.WithTimeout(h.ctx, electionTimeout)
	defer cancel()
	if resp, err := client.Put(ctx, "/lost", "x"); err == nil {
		h.t.Errorf("%s, in the minority, accepted a write: %v", m.Name, resp)
	}
	if _, err := client.Get(h.ctx, "/k", clientv3.WithSerializable()); err != nil {
		h.t.Errorf("a serializable read of %s, in the minority: %v", m.Name, err)
	}
}

// healed heals the network, and checks that all members have the last write.
func (h *hosts) healed(value string) {
	h.t.Helper()
	h.net.Heal()
	began := time.Now()
	for _, m := range h.Members() {
		if got := h.get(h.client(m), "/k"); got != value {
			h.t.Errorf("after healing %s reads %q, want %q", m.Name, got, value)
		}
	}
	h.must(h.AwaitHealthy(h.ctx))
	h.equal()
	h.t.Logf("healed after %v", time.Since(began).Round(time.Millisecond))
}

// TestHosts loses, delays and blocks packets between three hosts.
func TestHosts(t *testing.T) {
	t.Parallel()
	h := startHosts(t)
	terms := h.terms()
	one := func(m *fleet.Member) []*fleet.Member { return []*fleet.Member{m} }
	for _, c := range []struct {
		name string
		cut  func(leader *fleet.Member, followers []*fleet.Member) (minority *fleet.Member)
	}{
		{"follower cut off", func(_ *fleet.Member, followers []*fleet.Member) *fleet.Member {
			h.cut(one(followers[0]), h.Members())
			h.cut(h.Members(), one(followers[0]))
			return followers[0]
		}},
		{"leader cut off", func(leader *fleet.Member, followers []*fleet.Member) *fleet.Member {
			h.cut(one(leader), followers)
			h.cut(followers, one(leader))
			return leader
		}},
		{"leader is not heard", func(leader *fleet.Member, followers []*fleet.Member) *fleet.Member {
			h.cut(one(leader), followers)
			return leader
		}},
		{"leader hears nothing", func(leader *fleet.Member, followers []*fleet.Member) *fleet.Member {
			h.cut(followers, one(leader))
			return leader
		}},
	} {
		leader := h.leader()
		h.put(h.client(leader), "/k", "before")
		minority := c.cut(leader, h.others(leader))
		began := time.Now()
		majority := h.client(h.others(minority)...)
		h.put(majority, "/k", c.name)
		t.Logf("%s: the majority serves after %v", c.name, time.Since(began).Round(time.Millisecond))
		h.refuses(minority)
		h.healed(c.name)
	}
	h.cutInARow()
	for name, rule := range map[string]lan.Rule{"200 ms": {Delay: 200 * time.Millisecond}, "5 % lost": {Lose: 0.05}} {
		h.net.Each(rule)
		began := time.Now()
		client := h.client(h.Members()...)
		for i := range 5 {
			key := fmt.Sprintf("/%s/%d", name, i)
			h.put(client, key, name)
			if got := h.get(client, key); got != name {
				t.Errorf("%s: read %q, want %q", name, got, name)
			}
		}
		t.Logf("%s: 5 writes and reads took %v", name, time.Since(began).Round(time.Millisecond))
		h.put(client, "/k", name)
		h.healed(name)
	}
	terms.check()
}

// cutInARow cuts the connection between two members, one of them the leader; both still reach the
// third. Leadership may move, but a term has one leader.
func (h *hosts) cutInARow() {
	h.t.Helper()
	leader := h.leader()
	follower := h.others(leader)[0]
	h.cut([]*fleet.Member{leader}, []*fleet.Member{follower})
	h.cut([]*fleet.Member{follower}, []*fleet.Member{leader})
	client := h.client(h.others(follower)...)
	for i := range 20 {
		h.put(client, fmt.Sprintf("/row/%d", i), "x")
	}
	h.put(client, "/k", "in a row")
	if now, err := h.Leader(h.ctx); err == nil {
		h.t.Logf("one way cut: %s led before, %s leads now", leader.Name, now.Name)
	}
	h.healed("in a row")
}
