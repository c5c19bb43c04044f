package cluster

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/test/fleet"
)

// electionTimeout is the default of --election-timeout.
const electionTimeout = time.Second

// TestLeaderKilled kills the leader under load, three times, and restarts it each time.
func TestLeaderKilled(t *testing.T) {
	t.Parallel()
	c := start(t, 3)
	terms, load := c.terms(), c.load(4)
	for range 3 {
		load.more(50)
		leader := c.leader()
		probe := c.client(c.others(leader)...)
		c.must(leader.Kill())
		dead := time.Now()
		var served time.Time
		c.await("the survivors to serve", func() bool {
			ctx, cancel := context.WithTimeout(c.ctx, electionTimeout/4)
			defer cancel()
			_, err := probe.Put(ctx, "/probe", "x")
			served = time.Now()
			return err == nil
		})
		// The promise is two election timeouts, on a machine that is fast enough. A slower one must
		// not fail the test.
		if away := served.Sub(dead); away > 60*electionTimeout {
			t.Errorf("without service for %v after the leader's death", away)
		} else {
			t.Logf("without service for %v after the leader's death; two election timeouts are %v", away.Round(time.Millisecond), 2*electionTimeout)
		}
		load.more(50)
		c.must(leader.Start())
		c.must(leader.AwaitHealthy(c.ctx))
	}
	load.check()
	terms.check()
}

// TestRollingKill kills one member after the other under load, also while the previous one has only
// just restarted.
func TestRollingKill(t *testing.T) {
	t.Parallel()
	c := start(t, 3)
	terms, load := c.terms(), c.load(4)
	for range 3 {
		for _, m := range c.Members() {
			c.must(m.Kill())
			load.more(5)
			c.must(m.Start())
			load.more(5)
		}
	}
	c.must(c.AwaitHealthy(c.ctx))
	load.check()
	terms.check()
}

// TestPausedLeaderReadsNothingStale pauses the leader, lets the others elect a new one, and reads
// from the old leader as soon as it resumes: it must not return stale data.
func TestPausedLeaderReadsNothingStale(t *testing.T) {
	t.Parallel()
	c := start(t, 3)
	terms := c.terms()
	for round := range 3 {
		leader := c.leader()
		old, others := c.client(leader), c.client(c.others(leader)...)
		c.put(old, "/paused", "before")
		c.must(leader.Pause())
		// The request waits in its socket, and is the first one that it reads.
		type answer struct {
			value string
			err   error
		}
		answers := make(chan answer, 8)
		value := fmt.Sprintf("round %d", round)
		c.put(others, "/paused", value)
		var asked sync.WaitGroup
		for range cap(answers) {
			asked.Go(func() {
				ctx, cancel := context.WithTimeout(c.ctx, 20*time.Second)
				defer cancel()
				resp, err := old.Get(ctx, "/paused")
				a := answer{err: err}
				if err == nil {
					a.value = string(resp.Kvs[0].Value)
				}
				answers <- a
			})
		}
		c.must(leader.Resume())
		asked.Wait()
		close(answers)
		for a := range answers {
			if a.err == nil && a.value != value {
				t.Errorf("a leader that was paused read %q, where %q was acknowledged before", a.value, value)
			}
		}
		if got := c.get(old, "/paused"); got != value {
			t.Errorf("read %q on the member that was paused, want %q", got, value)
		}
	}
	c.equal()
	terms.check()
}

// TestCutOffLeader separates the leader from the others: it refuses requests that need a majority,
// the others elect a new leader, and it follows that one once it is connected again.
func TestCutOffLeader(t *testing.T) {
	t.Parallel()
	c := startOn(t, 3, fleet.Config{Proxied: true})
	terms := c.terms()
	for _, rule := range []fleet.Rule{{Refuse: true}, {Drop: true}} {
		leader := c.leader()
		old, others := c.client(leader), c.client(c.others(leader)...)
		c.put(old, "/cut", "before")
		c.Wire().Both([]*fleet.Member{leader}, c.others(leader), rule)
		value := fmt.Sprintf("%+v", rule)
		c.put(others, "/cut", value)
		ctx, cancel := context.WithTimeout(c.ctx, 2*electionTimeout)
		if resp, err := old.Get(ctx, "/cut"); err == nil {
			t.Errorf("a leader without a majority served a linearizable read: %v", resp.Kvs)
		}
		if resp, err := old.Put(ctx, "/lost", "x"); err == nil {
			t.Errorf("a leader without a majority accepted a write: %v", resp)
		}
		cancel()
		resp, err := old.Get(c.ctx, "/cut", clientv3.WithSerializable())
		if err != nil || string(resp.Kvs[0].Value) != "before" {
			t.Errorf("a serializable read from the disconnected member: %v, %v", resp, err)
		}
		c.Wire().Heal()
		if got := c.get(old, "/cut"); got != value {
			t.Errorf("after healing: %q, want %q", got, value)
		}
	}
	c.must(c.AwaitHealthy(c.ctx))
	c.equal()
	terms.check()
}

// TestSnapshotAfterAbsence stops a follower until the log no longer has the entries that it lacks.
func TestSnapshotAfterAbsence(t *testing.T) {
	t.Parallel()
	c := start(t, 3, "--snapshot-count=50", "--snapshot-catchup-entries=10")
	leader := c.leader()
	away := c.others(leader)[0]
	client := c.client(leader)
	var last [150]string // values that were put
	// A member that is away for less than some election timeouts gets the writes from the log,
	// however few entries that keeps for other members.
	for writes := 400; !contains(away.Log(), "received snapshot"); writes *= 2 {
		if c.ctx.Err() != nil {
			t.Fatalf("%s caught up without a snapshot", away.Name)
		}
		c.must(away.Kill())
		for i := range writes {
			last[i%len(last)] = fmt.Sprintf("%d of %d", i, writes)
			c.put(client, fmt.Sprintf("/many/%d", i%len(last)), last[i%len(last)])
		}
		load := c.load(2)
		c.must(away.Start())
		c.must(away.AwaitHealthy(c.ctx))
		load.more(20)
		load.check()
	}
	if got := c.get(c.client(away), "/many/99"); got != last[99] {
		t.Errorf("/many/99 is %q, want %q", got, last[99])
	}
}

// TestStreamsEndWithoutLeader kills the majority: streams that require a leader end, others do not.
func TestStreamsEndWithoutLeader(t *testing.T) {
	t.Parallel()
	c := start(t, 3)
	last := c.Members()[0]
	client := c.client(last)
	patient := client.Watch(c.ctx, "/x", clientv3.WithCreatedNotify())
	if r := <-patient; !r.Created {
		t.Fatalf("want a watch, got %+v", r)
	}
	var need clientv3.WatchChan
	c.await("a watch that requires a leader", func() bool { // a busy machine may have no leader for a moment
		need = client.Watch(clientv3.WithRequireLeader(c.ctx), "/x", clientv3.WithCreatedNotify())
		return (<-need).Created
	})
	for _, m := range c.others(last) {
		c.must(m.Kill())
	}
	select {
	case r, open := <-need:
		if open && r.Err() == nil {
			t.Errorf("a watch that requires a leader received %+v", r)
		}
	case <-c.ctx.Done():
		t.Fatal("a watch that needs a leader has not ended")
	}
	select {
	case r, open := <-patient:
		t.Errorf("a watch that does not require a leader received %+v (%t)", r, open)
	default:
	}
	for _, m := range c.others(last) {
		c.must(m.Start())
	}
	c.put(client, "/x", "again")
	// A put that times out is repeated, and may have been executed: each is an event, from the
	// first on.
	r := <-patient
	if len(r.Events) == 0 {
		t.Errorf("the waiting watch received %+v", r)
	}
	for i, e := range r.Events {
		if string(e.Kv.Value) != "again" || e.Kv.Version != int64(i+1) {
			t.Errorf("event %d that the waiting watch received is %+v", i, e)
		}
	}
}
