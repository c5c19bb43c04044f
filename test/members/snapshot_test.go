package members

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// short makes the members keep so little of the log that a follower that was away needs a snapshot.
func short(t *testing.T) {
	t.Setenv("ETCD_SNAPSHOT_COUNT", "50")
	t.Setenv("ETCD_SNAPSHOT_CATCHUP_ENTRIES", "5")
}

// follower returns a member that is not the leader, and another one.
func (c *cluster) follower() (follower, other *member) {
	c.t.Helper()
	c.eventually("find the leader", func(ctx context.Context) error {
		for i, m := range c.all {
			r, err := c.dial(m).Status(ctx, m.client)
			if err != nil {
				return err
			}
			if r.Leader == 0 {
				return errors.New("no leader")
			}
			if r.Leader != r.Header.MemberId {
				follower, other = m, c.all[(i+1)%3]
			}
		}
		return nil
	})
	return follower, other
}

const awayWrites = 600

// whileAway calls away, which has a member miss some writes and come back, until the member has
// needed a snapshot. Each time there are twice as many writes: a member that is away for less than
// some election timeouts gets them from the log, however few entries that keeps for other members.
func (c *cluster) whileAway(m *member, away func(writes int)) {
	c.t.Helper()
	for writes := awayWrites; !strings.Contains(m.log.String(), "received snapshot"); writes *= 2 {
		if c.ctx.Err() != nil {
			c.t.Fatalf("%s has caught up without a snapshot: the test shows nothing", m.name)
		}
		away(writes)
	}
	if left, _ := filepath.Glob(filepath.Join(c.dir, m.name, "member", "receive", "*")); len(left) > 0 {
		c.t.Errorf("%q were left behind", left)
	}
}

// write puts a number of values, and returns the last revision.
func (c *cluster) write(through *member, writes int) (last int64) {
	c.t.Helper()
	client := c.dial(through)
	for i := range writes {
		c.eventually(fmt.Sprint("write ", i), func(ctx context.Context) error {
			r, err := client.Put(ctx, fmt.Sprintf("away/%03d", i%100), fmt.Sprint(i))
			if err == nil {
				last = r.Header.Revision
			}
			return err
		})
	}
	return last
}

// caughtUp waits until a member has the same HashKV as the others.
func (c *cluster) caughtUp(m, other *member) {
	c.t.Helper()
	c.eventually(m.name+" has caught up", func(ctx context.Context) error {
		theirs, err := c.dial(other).HashKV(ctx, other.client, 0)
		if err != nil {
			return err
		}
		ours, err := c.dial(m).HashKV(ctx, m.client, theirs.Header.Revision)
		if err != nil {
			return err
		}
		if ours.Hash != theirs.Hash || ours.CompactRevision != theirs.CompactRevision {
			return fmt.Errorf("hash %x at revision %d, compacted at %d; %x, %d", ours.Hash, theirs.Header.Revision, ours.CompactRevision, theirs.Hash, theirs.CompactRevision)
		}
		return nil
	})
}

// TestSnapshotUnderWatchers stops a follower's process for a while, so that it needs a snapshot
// when it continues: its watchers must receive every revision, in order, once.
func TestSnapshotUnderWatchers(t *testing.T) {
	short(t)
	c := start(t)
	follower, other := c.follower()
	var first int64
	c.eventually("begin", func(ctx context.Context) error {
		r, err := c.dial(follower).Put(ctx, "away/000", "before")
		if err == nil {
			first = r.Header.Revision
		}
		return err
	})
	watch := c.dial(follower).Watch(c.ctx, "away/", clientv3.WithPrefix(), clientv3.WithRev(first))
	next := first
	tell := func(r clientv3.WatchResponse) {
		if err := r.Err(); err != nil {
			t.Fatalf("watch: %v", err)
		}
		for _, e := range r.Events {
			if e.Kv.ModRevision != next {
				t.Fatalf("event of revision %d, want %d", e.Kv.ModRevision, next)
			}
			next++
		}
	}
	tell(<-watch)
	c.whileAway(follower, func(writes int) {
		if err := follower.proc.Pause(); err != nil {
			t.Fatal(err)
		}
		last := c.write(other, writes)
		if err := follower.proc.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		for next <= last {
			select {
			case r := <-watch:
				tell(r)
			case <-c.ctx.Done():
				t.Fatalf("received revisions up to %d of %d", next-1, last)
			}
		}
		c.caughtUp(follower, other)
	})
}

// TestSnapshotOfCompactedHistory kills a follower; when it restarts it needs a snapshot, of a state
// in which the revisions that its client watches are compacted.
func TestSnapshotOfCompactedHistory(t *testing.T) {
	short(t)
	c := start(t)
	follower, other := c.follower()
	var last int64
	c.whileAway(follower, func(writes int) {
		follower.kill()
		last = c.write(other, writes)
		c.eventually("compact", func(ctx context.Context) error {
			_, err := c.dial(other).Compact(ctx, last-10)
			if errors.Is(err, rpctypes.ErrCompacted) {
				return nil // an earlier attempt succeeded
			}
			return err
		})
		c.run(follower)
		c.caughtUp(follower, other)
	})
	r := <-c.dial(follower).Watch(c.ctx, "away/", clientv3.WithPrefix(), clientv3.WithRev(2))
	if r.CompactRevision != last-10 || !errors.Is(r.Err(), rpctypes.ErrCompacted) {
		t.Errorf("a watch from revision 2: %v, compacted at %d, want at %d", r.Err(), r.CompactRevision, last-10)
	}
}
