package member

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"cairn/internal/auth"
	"cairn/internal/member/reconfigure"
	"cairn/internal/membership"
	"cairn/internal/version"
)

// TestClusterWritesAndReads: every member accepts writes and serves linearizable reads.
func TestClusterWritesAndReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startTrio(t)
		for i := range 30 {
			writer, reader := c.members[uint64(i%3+1)], c.members[uint64(i/3%3+1)]
			value := fmt.Sprint(i)
			mustPut(t, writer, "k", value)
			if got := readFrom(t, reader, "k"); got != value {
				t.Fatalf("member %x reads %q after %x wrote %q", reader.ID(), got, writer.ID(), value)
			}
		}
	})
}

// TestLeaderCutOff: the majority continues without its leader, which serves no request meanwhile,
// and follows after it has reconnected.
func TestLeaderCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startTrio(t)
		old := c.leader()
		mustPut(t, old, "k", "before")
		c.net.setCut(old.ID(), true)

		ctx, cancel := context.WithTimeout(context.Background(), 400*time.Millisecond)
		defer cancel()
		if err := old.WaitLinearizable(ctx); err == nil {
			t.Error("a disconnected leader serves a linearizable read")
		}
		var others []uint64
		for id := range c.members {
			if id != old.ID() {
				others = append(others, id)
			}
		}
		next := c.leaderOf(others...)
		putUntilTaken(t, next, "k", "after")
		if got := readFrom(t, c.members[others[0]], "k"); got != "after" {
			t.Errorf("the majority reads %q", got)
		}
		await(t, "the old leader to step down", func() bool { return !old.leads.Load() })
		if got := valueOn(t, old, "k"); got != "before" {
			t.Errorf("the old leader has %q", got)
		}
		c.net.setCut(old.ID(), false)
		await(t, "the old leader to follow", func() bool { return valueOn(t, old, "k") == "after" })
		if got := readFrom(t, old, "k"); got != "after" {
			t.Errorf("the old leader reads %q", got)
		}
	})
}

// TestChangesThroughLaggingMember: a member that has not applied the previous change yet does not
// refuse the next one.
func TestChangesThroughLaggingMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startTrio(t)
		leader, behind := c.leader(), c.follower()
		third := 6 - leader.ID() - behind.ID()
		freed := []string{fmt.Sprintf("http://127.0.0.1:%d", third)}
		c.net.setCut(behind.ID(), true)
		if err := leader.UpdatePeerURLs(context.Background(), third, []string{"http://127.0.0.1:9999"}); err != nil {
			t.Fatal(err)
		}
		c.net.setCut(behind.ID(), false)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		added, err := behind.AddMember(ctx, freed, true)
		if err != nil {
			t.Fatalf("add a member with URLs that another one no longer has: %v", err)
		}
		if err := leader.RemoveMember(ctx, added.ID); err != nil {
			t.Fatal(err)
		}
	})
}

// TestRequestsOfALostLeader: a request that was lost with its leader succeeds when the next leader
// has been elected, long before its timeout.
func TestRequestsOfALostLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startTrio(t)
		leader, follower := c.leader(), c.follower()
		c.net.setSilent(leader.ID(), true)
		result := make(chan error, 1)
		go func() {
			_, err := put(follower, "k", "lost")
			result <- err
		}()
		select {
		case err := <-result:
			if err != nil {
				t.Errorf("completed with %v", err)
			}
		case <-time.After(follower.requestTimeout()):
			t.Fatal("not completed")
		}
		c.net.setSilent(leader.ID(), false)
		c.leader()
	})
}

// pause makes a member's raft loop notice a pause at its next event.
func pause(m *Member) {
	m.turning.lastTick.Store(int64(m.now() - 2*m.electionTimeout()))
}

// wantOnePutSince makes a put, and checks that one other was executed since a revision, and once.
func wantOnePutSince(t *testing.T, m *Member, before int64) {
	t.Helper()
	mustPut(t, m, "other", "v")
	if got := m.Keys().Head().Revision; got != before+2 {
		t.Errorf("revision %d after two puts, want %d", got, before+2)
	}
}

// TestRequestsAfterLeaderPaused: a leader that continues after a pause drops forwarded requests.
// Those whose clients still wait succeed, long before their timeout.
func TestRequestsAfterLeaderPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startTrio(t)
		leader, follower := c.leader(), c.follower()
		before := follower.Keys().Head().Revision
		pause(leader)
		began := time.Now()
		if _, err := put(follower, "k", "after the pause"); err != nil {
			t.Errorf("a put through a follower: %v", err)
		}
		if took := time.Since(began); took > 2*leader.electionTimeout() {
			t.Errorf("a put through a follower took %v", took)
		}
		if c.leader() == leader {
			t.Error("the request was not dropped: the test shows nothing")
		}
		wantOnePutSince(t, follower, before)
	})
}

// TestRequestsAfterElectionOfPaused: a member that is elected after a pause drops no request, since
// those of its term were forwarded after the pause.
func TestRequestsAfterElectionOfPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startTrio(t)
		old, next := c.leader(), c.follower()
		pause(next)
		if err := old.MoveLeader(context.Background(), next.ID()); err != nil {
			t.Fatal(err)
		}
		if _, err := put(old, "k", "forwarded"); err != nil {
			t.Errorf("a put through a follower: %v", err)
		}
		time.Sleep(2 * old.electionTimeout())
		if got := c.leader(); got != next {
			t.Errorf("member %x leads, want %x", got.ID(), next.ID())
		}
	})
}

// TestRequestsAfterLeaderDisconnected: a follower does not forward requests to a leader that it has
// no connection to. They wait for the next leader, and none of them fails.
func TestRequestsAfterLeaderDisconnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startTrio(t)
		leader, follower := c.leader(), c.follower()
		c.net.setCut(leader.ID(), true)
		if _, err := put(follower, "k", "kept"); err != nil {
			t.Errorf("a put after the leader's connection broke: %v", err)
		}
		if next := follower.Leader(); next == leader.ID() {
			t.Error("the put was acknowledged without another leader")
		}
		c.net.setCut(leader.ID(), false)
		await(t, "the lost leader to follow", func() bool { return valueOn(t, leader, "k") == "kept" })
	})
}

func TestMoveLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startTrio(t)
		leader, follower := c.leader(), c.follower()
		if err := follower.MoveLeader(context.Background(), follower.ID()); !errors.Is(err, ErrNotLeader) {
			t.Errorf("moved by a follower: %v", err)
		}
		if err := leader.MoveLeader(context.Background(), 9); !errors.Is(err, ErrBadTransferee) {
			t.Errorf("moved to no member: %v", err)
		}
		if err := leader.MoveLeader(context.Background(), follower.ID()); err != nil {
			t.Fatal(err)
		}
		if got := c.leader(); got != follower {
			t.Errorf("%x leads, want %x", got.ID(), follower.ID())
		}
		mustPut(t, leader, "k", "v")
	})
}

// TestRequestMove: a follower's client moves leadership, too.
func TestRequestMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startTrio(t)
		follower := c.follower()
		if err := follower.RequestMove(context.Background(), 9); err == nil || !strings.Contains(err.Error(), ErrBadTransferee.Error()) {
			t.Errorf("moved to no member: %v", err)
		}
		if err := follower.RequestMove(context.Background(), follower.ID()); err != nil {
			t.Fatal(err)
		}
		if got := c.leader(); got != follower {
			t.Errorf("%x leads, want %x", got.ID(), follower.ID())
		}
		if err := follower.RequestMove(context.Background(), c.follower().ID()); err != nil {
			t.Errorf("moved by the leader: %v", err)
		}
	})
}

// TestLogout: the members that are connected refuse the token of a log-out.
func TestLogout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startTrio(t)
		leader, follower := c.leader(), c.follower()
		hash, err := bcrypt.GenerateFromPassword([]byte("pw"), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		for _, change := range []*auth.Command{{Kind: auth.KindV2UserPut, Name: auth.RootName, Hash: string(hash)}, {Kind: auth.KindEnable, V2: true}} {
			if _, err := leader.ChangeAuth(context.Background(), change); err != nil {
				t.Fatal(err)
			}
		}
		token, err := follower.Login(context.Background(), auth.RootName, "pw")
		if err != nil {
			t.Fatal(err)
		}
		use := func(m *Member) error {
			if err := m.WaitLinearizable(context.Background()); err != nil {
				t.Fatal(err)
			}
			_, err := m.Gate().Bearer(m.Gate().State(), token)
			return err
		}
		for _, m := range c.members {
			if err := use(m); err != nil {
				t.Errorf("%x before the log-out: %v", m.ID(), err)
			}
		}
		follower.Logout(context.Background(), token)
		for _, m := range c.members {
			if err := use(m); !errors.Is(err, auth.BadToken) {
				t.Errorf("%x after the log-out: %v", m.ID(), err)
			}
		}
	})
}

// TestOverviewOf: each member returns the states of all members.
func TestOverviewOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startTrio(t)
		mustPut(t, c.leader(), "k", "v")
		for _, asked := range c.members {
			for _, m := range c.members {
				o, err := asked.Overviews.OverviewOf(context.Background(), m.ID())
				if err != nil {
					t.Fatalf("%x of %x: %v", asked.ID(), m.ID(), err)
				}
				if !o.Start.Equal(m.start) || o.Leader == 0 || o.Term == 0 || o.Applied == 0 || o.Cairn != version.Cairn {
					t.Errorf("%x of %x: %+v", asked.ID(), m.ID(), o)
				}
			}
		}
		if _, err := c.leader().OverviewOf(context.Background(), 9); err == nil {
			t.Error("no error for a member that does not exist")
		}
		cut := c.follower()
		c.net.setCut(cut.ID(), true)
		if _, err := c.leader().OverviewOf(context.Background(), cut.ID()); err == nil {
			t.Error("no error for a member that is cut off")
		}
	})
}

// TestShrink: members are removed one by one, the leader first; the last one serves alone and
// cannot be removed.
func TestShrink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startTrio(t)
		first := c.leader()
		if err := first.RemoveMember(context.Background(), first.ID()); err != nil {
			t.Fatal(err)
		}
		<-first.Removed()
		var left []uint64
		for id := range c.members {
			if id != first.ID() {
				left = append(left, id)
			}
		}
		second := c.leaderOf(left...)
		putUntilTaken(t, second, "k", "two")
		last := c.members[left[0]]
		if last == second {
			last = c.members[left[1]]
		}
		if err := last.RemoveMember(context.Background(), first.ID()); !errors.Is(err, membership.ErrRemoved) {
			t.Errorf("removed a second time: %v", err)
		}
		// Through the member that is being removed, executed by the remaining one.
		if err := last.RemoveMember(context.Background(), second.ID()); err != nil {
			t.Fatal(err)
		}
		<-second.Removed()
		await(t, "the last one to lead", func() bool { return last.leads.Load() })
		putUntilTaken(t, last, "k", "one")
		await(t, "reads without a round of the cluster", func() bool { return last.readable.Load() })
		if err := last.RemoveMember(context.Background(), last.ID()); !errors.Is(err, membership.ErrOnlyMember) {
			t.Errorf("the last one was removed: %v", err)
		}
	})
}

// TestStrictReconfig: a change that would leave too few members is refused.
func TestStrictReconfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startTrio(t, func(cfg *Config) { cfg.StrictReconfig = true })
		leader := c.leader()
		url := []string{"http://127.0.0.1:9"}
		if _, err := leader.AddMember(context.Background(), url, false); !errors.Is(err, reconfigure.ErrNotEnoughStarted) {
			t.Errorf("added before any member has published: %v", err)
		}
		for _, m := range c.members {
			if err := m.Publish(context.Background(), fmt.Sprint("m", m.ID()), nil); err != nil {
				t.Fatal(err)
			}
		}
		// A member responds once it has applied a command itself.
		await(t, "the leader to apply the publications", func() bool {
			return !slices.ContainsFunc(leader.Members(), func(m membership.Member) bool { return m.Name == "" })
		})
		follower := c.follower()
		c.net.setCut(follower.ID(), true)
		if _, err := leader.AddMember(context.Background(), url, false); !errors.Is(err, reconfigure.ErrUnhealthy) {
			t.Errorf("added while one is cut off: %v", err)
		}
		if err := leader.RemoveMember(context.Background(), 6-leader.ID()-follower.ID()); !errors.Is(err, reconfigure.ErrUnhealthy) {
			t.Errorf("removed the one that is left: %v", err)
		}
		if err := leader.RemoveMember(context.Background(), follower.ID()); err != nil {
			t.Errorf("remove the member that is down: %v", err)
		}
		c.net.setCut(follower.ID(), false)
	})
}

// TestLeaderWithStalledDisk: a leader whose disk hangs transfers leadership, and the cluster
// continues.
func TestLeaderWithStalledDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startTrio(t)
		old := c.leader()
		resume := make(chan struct{})
		stall := func() error {
			<-resume
			return nil
		}
		c.disks[old.ID()].onSync.Store(&stall)
		result := make(chan error, 1)
		go func() {
			_, err := put(old, "k", "stalled")
			result <- err
		}()
		await(t, "another leader", func() bool { return !old.leads.Load() && old.Leader() != 0 })
		putUntilTaken(t, c.members[old.Leader()], "k", "after")
		if err := <-result; err != nil && !errors.Is(err, ErrTimeout) && !errors.Is(err, ErrLeaderChanged) {
			t.Errorf("the write that met the stall: %v", err)
		}
		c.disks[old.ID()].onSync.Store(nil)
		close(resume)
		await(t, "the old leader to follow", func() bool { return valueOn(t, old, "k") == "after" })
	})
}

// TestMissingMajority: a member without a leader reports at once how many members are up, and does
// not execute later what its clients have cancelled meanwhile.
func TestMissingMajority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startTrio(t)
		m := c.follower()
		mustPut(t, m, "k", "before")
		if got := m.MissingMajority(); got != "" {
			t.Errorf("with a leader: %q", got)
		}
		for id := range c.members {
			c.net.setCut(id, true)
		}
		await(t, "the leader to be lost", func() bool { return m.Leader() == 0 })
		if got := m.MissingMajority(); got != "1 of 3 members up, waiting for a majority" {
			t.Errorf("without a majority: %q", got)
		}
		ctx, cancel := context.WithCancel(context.Background())
		failed := make(chan error, 1)
		go func() {
			_, err := putContext(ctx, m, "k", "cancelled")
			failed <- err
		}()
		await(t, "the put to wait", func() bool { return m.inbox.waiting() == 1 })
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("put: %v", err)
		}
		for id := range c.members {
			c.net.setCut(id, false)
		}
		c.leader()
		putUntilTaken(t, m, "other", "x")
		if got := readFrom(t, m, "k"); got != "before" {
			t.Errorf("k is %q: a cancelled write was executed", got)
		}
	})
}
