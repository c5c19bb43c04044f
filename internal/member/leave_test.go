package member

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// TestLateProposal: a forwarded proposal that arrives after its term, at a member that leads again,
// is refused. Its request has been proposed again, and is executed once.
func TestLateProposal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startTrio(t)
		leader, follower := c.leader(), c.follower()
		before := follower.Keys().Head().Revision
		c.net.holdProposals()
		result := make(chan error, 1)
		go func() {
			_, err := put(follower, "k", "once")
			result <- err
		}()
		await(t, "the request to be forwarded", func() bool { return c.net.heldCount() > 0 })
		held := c.net.pass()
		for _, to := range []uint64{6 - leader.ID() - follower.ID(), leader.ID()} {
			if err := c.leader().MoveLeader(context.Background(), to); err != nil {
				t.Fatal(err)
			}
			if got := c.leader(); got.ID() != to {
				t.Fatalf("%x leads, want %x", got.ID(), to)
			}
		}
		for _, m := range held {
			peerHandler{leader}.Receive(context.Background(), proto.Clone(m).(*raftpb.Message))
		}
		if err := <-result; err != nil {
			t.Errorf("the request: %v", err)
		}
		wantOnePutSince(t, follower, before)
	})
}

// TestRemoveLeaderUnderLoad: when the leader is removed, no request to another member fails, and no
// client of the removed member loses more than the one in progress. Later requests are refused at
// once as not executed, and none waits longer than an election.
func TestRemoveLeaderUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startTrio(t)
		removed := c.leader()
		var clients sync.WaitGroup
		stop := make(chan struct{})
		longest := 10 * removed.electionTimeout()
		for id, m := range c.members {
			for n := range 4 {
				clients.Go(func() {
					unknown := 0
					for i := 0; ; i++ {
						select {
						case <-stop:
							return
						default:
						}
						began := time.Now()
						_, err := put(m, fmt.Sprintf("%d-%d", id, n), fmt.Sprint(i))
						if took := time.Since(began); took > longest {
							t.Errorf("a put to member %x took %v: %v", id, took, err)
						}
						switch {
						case err == nil:
						case m == removed && errors.Is(err, ErrRemoved):
							return
						case m == removed && errors.Is(err, ErrStopped):
							unknown++
						default:
							t.Errorf("a put to member %x: %v", id, err)
						}
						if unknown > 1 {
							t.Errorf("a client of the removed member lost %d requests", unknown)
							return
						}
						time.Sleep(time.Millisecond)
					}
				})
			}
		}
		time.Sleep(100 * time.Millisecond)
		if err := c.follower().RemoveMember(context.Background(), removed.ID()); err != nil {
			t.Fatal(err)
		}
		<-removed.Removed()
		if err := removed.WaitLinearizable(context.Background()); !errors.Is(err, ErrRemoved) {
			t.Errorf("a read of the removed member: %v", err)
		}
		time.Sleep(100 * time.Millisecond)
		close(stop)
		clients.Wait()
		mustPut(t, c.leaderOf(c.others(removed.ID())...), "k", "v")
	})
}
