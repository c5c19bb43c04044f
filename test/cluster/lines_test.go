package cluster

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"cairn/test/fleet"
)

// TestLinesThatToolsWaitFor has a cluster log what etcd's tools and tests look for in its members'
// logs. Those of a single member are in cmd/etcd.
func TestLinesThatToolsWaitFor(t *testing.T) {
	t.Parallel()
	c := start(t, 3, "--compact-hash-check-time=500ms")
	client := c.client(c.Members()...)
	for range 3 {
		c.put(client, "/a", "v")
	}
	c.await("a compaction", func() bool {
		got, err := client.Get(c.ctx, "/a")
		if err == nil {
			_, err = client.Compact(c.ctx, got.Header.Revision)
		}
		return err == nil || errors.Is(err, rpctypes.ErrCompacted) // by an earlier attempt
	})
	for _, m := range c.Members() {
		for _, line := range []string{
			"published name=" + m.Name, "enabled capabilities for version 3.", "ready to serve client requests", "finished scheduled compaction",
		} {
			c.await(m.Name+" to log "+line, func() bool { return strings.Contains(m.Log(), line) })
		}
	}
	// The leader does, and a busy machine may elect another one at any time.
	const checked = "finished compaction hash check"
	c.await("a member to log "+checked, func() bool {
		return slices.ContainsFunc(c.Members(), func(m *fleet.Member) bool { return strings.Contains(m.Log(), checked) })
	})
	c.await("the cluster to take a member", func() bool {
		_, err := client.MemberAddAsLearner(c.ctx, []string{"http://127.0.0.1:1"})
		return err == nil || errors.Is(err, rpctypes.ErrPeerURLExist) // by an earlier attempt
	})
	for _, m := range c.Members() {
		c.await(m.Name+" to log the added member", func() bool { return strings.Contains(m.Log(), "added member") })
		if strings.Count(m.Log(), checked) > 1 {
			t.Errorf("%s compares the hash of one compaction more than once", m.Name)
		}
	}
}
