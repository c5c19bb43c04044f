package cluster

import (
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestLinesThatToolsWaitFor has a cluster log what etcd's tools and tests look for in its members'
// logs. Those of a single member are in cmd/etcd.
func TestLinesThatToolsWaitFor(t *testing.T) {
	t.Parallel()
	c := start(t, 3, "--compact-hash-check-time=500ms")
	leader := c.leader()
	client := c.client(leader)
	var last *clientv3.PutResponse
	for range 3 {
		var err error
		last, err = client.Put(c.ctx, "/a", "v")
		c.must(err)
	}
	_, err := client.Compact(c.ctx, last.Header.Revision)
	c.must(err)
	for _, m := range c.Members() {
		lines := []string{"published name=" + m.Name, "enabled capabilities for version 3.", "ready to serve client requests", "finished scheduled compaction"}
		if m == leader {
			lines = append(lines, "finished compaction hash check")
		}
		for _, line := range lines {
			c.await(m.Name+" to log "+line, func() bool { return strings.Contains(m.Log(), line) })
		}
	}
	c.await("the cluster to take a member", func() bool {
		_, err := client.MemberAddAsLearner(c.ctx, []string{"http://127.0.0.1:1"})
		return err == nil
	})
	for _, m := range c.Members() {
		c.await(m.Name+" to log the added member", func() bool { return strings.Contains(m.Log(), "added member") })
	}
	if _, since, ok := strings.Cut(leader.Log(), "finished compaction hash check"); ok && strings.Count(since, "finished compaction hash check") > 0 {
		t.Error("the hash of one compaction is compared more than once")
	}
}
