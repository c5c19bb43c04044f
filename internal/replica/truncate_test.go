package replica

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
)

// keepEntries keeps a number of entries, of any size.
func keepEntries[N int | uint64](n N) Keep { return Keep{Entries: uint64(n), Bytes: math.MaxUint64} }

// TestKeptBytes: what a truncation keeps is limited by bytes, too.
func TestKeptBytes(t *testing.T) {
	c := newCluster(t)
	leader := c.nodes[1]
	must(t, errors.Join(leader.r.Campaign(), c.runUntilIdle()))
	_, err := c.write(rand.New(rand.NewPCG(5, 1)), nil, 50)
	must(t, errors.Join(err, leader.machine.Flush()))
	applied := leader.machine.AppliedIndex()
	kept := func(k Keep) (n uint64) {
		must(t, leader.r.Truncate(k))
		first, _ := leader.log.FirstIndex()
		return applied + 1 - first
	}
	entries, err := leader.log.Entries(applied-9, applied+1, math.MaxUint64)
	must(t, err)
	bytes := uint64(0)
	for _, e := range entries {
		bytes += uint64(len(e.Data)) + 100
	}
	if n := kept(Keep{Entries: 40, Bytes: math.MaxUint64}); n != 40 {
		t.Errorf("%d entries are kept, want 40", n)
	}
	if n := kept(Keep{Entries: 40, Bytes: bytes}); n < 10 || n > 30 {
		t.Errorf("%d entries are kept, want the 10 that have %d bytes at most, and some more", n, bytes)
	}
	if n := kept(Keep{Entries: 5, Bytes: bytes}); n != 5 {
		t.Errorf("%d entries are kept, want 5", n)
	}
	if n := kept(Keep{}); n != 0 {
		t.Errorf("%d entries are kept, want none", n)
	}
}

// TestFollowedLogIsKept: the leader keeps the entries that an active follower lacks, up to a number
// of bytes, and not those that one lacks which is away.
func TestFollowedLogIsKept(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 1))
	c := newCluster(t)
	leader := c.nodes[1]
	must(t, errors.Join(leader.r.Campaign(), c.runUntilIdle()))
	batches, err := c.write(rng, nil, 10)
	must(t, errors.Join(err, c.tick(2)))
	c.slow[3] = true
	has := leader.r.followed.Load()
	_, err = c.write(rng, batches, 30)
	must(t, errors.Join(err, leader.machine.Flush()))
	first := func(k Keep) uint64 {
		must(t, leader.r.Truncate(k))
		first, _ := leader.log.FirstIndex()
		return first
	}
	for i := range 24 { // twice an election timeout
		// Responses are late at every other tick, so once just after raft has reset all activity.
		c.cut[3] = (i+i/12)%2 == 0
		must(t, c.tick(1))
		if n := first(Keep{FollowedBytes: math.MaxUint64}); n > has+1 {
			t.Fatalf("the log begins at entry %d, an active follower has entry %d", n, has)
		}
	}
	c.cut[3] = false
	must(t, c.tick(2))
	if n := first(Keep{FollowedBytes: 1000}); n <= has+1 || n > leader.machine.AppliedIndex() {
		t.Errorf("the log begins at entry %d, with 1,000 bytes kept for a follower that has entry %d", n, has)
	}
	c.slow[3], c.cut[3] = false, true
	must(t, c.tick(20))
	if n := first(Keep{FollowedBytes: math.MaxUint64}); n != leader.machine.AppliedIndex()+1 {
		t.Errorf("the log begins at entry %d, and the only follower that lacks entries is away", n)
	}
}
