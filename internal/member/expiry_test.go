package member

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"cairn/internal/machine"
	"cairn/internal/v2tree"
)

// TestExpiry: the leader expires v2's nodes at their deadline; a restart does not extend it.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		m := start(t, testConfig(d))
		c := v2tree.Command{Kind: v2tree.KindSet, Path: []byte("/ttl"), Value: []byte("x"), HasTTL: true, TTL: 10 * time.Second}
		if _, err := m.Propose(context.Background(), machine.KindV2, c.Append(nil)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		mustPut(t, m, "tick", "x") // carries the cluster time
		closeMember(t, m)
		time.Sleep(time.Hour) // without a leader, cluster time does not advance

		m = start(t, testConfig(d))
		expect(t, m, "/ttl", "x")
		time.Sleep(3 * time.Second)
		expect(t, m, "/ttl", "x")
		time.Sleep(1500 * time.Millisecond)
		if _, ok := keys(t, m)["/ttl"]; ok {
			t.Error("the key outlived its TTL")
		}
		closeMember(t, m)
	})
}
