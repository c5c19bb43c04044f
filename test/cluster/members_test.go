package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"cairn/test/fleet"
	"cairn/test/harness"
)

func contains(text, part string) bool { return strings.Contains(text, part) }

// etcdctl runs etcdctl against members, with further environment variables and arguments.
func (c *cluster) etcdctl(members []*fleet.Member, env, line string) (stdout, stderr string, exit int) {
	c.t.Helper()
	var urls []string
	for _, m := range members {
		urls = append(urls, m.ClientURL())
	}
	ctx, cancel := context.WithTimeout(c.ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, harness.Etcdctl(c.t), strings.Fields(line)...)
	cmd.Env = append(append(os.Environ(), harness.OurPatience...), "ETCDCTL_ENDPOINTS="+strings.Join(urls, ","))
	cmd.Env = append(cmd.Env, strings.Fields(env)...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); ctx.Err() != nil || cmd.ProcessState == nil {
		c.t.Fatalf("etcdctl %s: %v", line, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// TestTutorialMembers types the tutorial's member commands, on a cluster of three.
func TestTutorialMembers(t *testing.T) {
	t.Parallel()
	c := start(t, 3)
	const v2 = "ETCDCTL_API=2"
	var leader *fleet.Member
	list := ""
	c.await("a list of the members with their leader", func() bool { // a busy machine may elect another one at any time
		leader = c.leader()
		list, _, _ = c.etcdctl(c.Members(), v2, "member list")
		return contains(list, fmt.Sprintf("%x: name=%s peerURLs=%s clientURLs=%s isLeader=true\n", leader.ID(), leader.Name, leader.PeerURL(), leader.ClientURL()))
	})
	for _, m := range c.others(leader) {
		want := fmt.Sprintf("%x: name=%s peerURLs=%s clientURLs=%s isLeader=false\n", m.ID(), m.Name, m.PeerURL(), m.ClientURL())
		if !contains(list, want) {
			t.Errorf("member list is\n%swithout\n%s", list, want)
		}
	}
	if n := strings.Count(list, "\n"); n != 3 {
		t.Errorf("member list has %d lines:\n%s", n, list)
	}
	gone := c.others(leader)[0]
	// The members must have been connected for some seconds before one may be removed.
	var removed string
	c.await("a member removed", func() bool {
		var exit int
		removed, _, exit = c.etcdctl(c.others(gone), v2, fmt.Sprintf("member remove %x", gone.ID()))
		return exit == 0
	})
	if want := fmt.Sprintf("Removed member %x from cluster\n", gone.ID()); removed != want {
		t.Errorf("member remove printed %q, want %q", removed, want)
	}
	state, err := gone.AwaitEnd(c.ctx)
	c.must(err)
	if !state.Success() || !contains(gone.Log(), "removed from the cluster") {
		t.Errorf("the removed member ended with %v, its log:\n%s", state, gone.Log())
	}
	// It logs the removal again and does not run.
	c.must(gone.Start())
	state, err = gone.AwaitEnd(c.ctx)
	c.must(err)
	t.Logf("started again it ended with %v", state)
	c.await("a member added", func() bool {
		stdout, stderr, exit := c.etcdctl(c.others(gone), v2, "member add etcd3 http://127.0.0.1:32999")
		// At first the other members have been connected for too short a time. The v2 client
		// reports every such response in this way.
		if exit != 0 && !contains(stderr, "has no leader") {
			t.Fatalf("member add: exit %d: %s%s", exit, stdout, stderr)
		}
		if exit == 0 && (!contains(stdout, "Added member named etcd3 with ID ") || !contains(stdout, " to cluster\n") ||
			!contains(stdout, `ETCD_INITIAL_CLUSTER_STATE="existing"`)) {
			t.Errorf("member add printed\n%s", stdout)
		}
		return exit == 0
	})
}

// TestGrowAndShrink grows a cluster from one member to five, each added as a learner, and shrinks
// it to three, under load.
func TestGrowAndShrink(t *testing.T) {
	t.Parallel()
	c := start(t, 1)
	load := c.load(3)
	for len(c.Members()) < 5 {
		m, err := c.Add(c.ctx, true)
		c.must(err)
		c.must(c.Promote(c.ctx, m))
		load.more(20)
	}
	for len(c.Members()) > 3 {
		gone := c.leader() // then the others elect another one
		state, err := c.Remove(c.ctx, gone)
		c.must(err)
		if !state.Success() {
			t.Errorf("%s, which was removed, ended with %v", gone.Name, state)
		}
		load.more(20)
	}
	load.check()
}

// TestWipedMember loses a member's disk: the member is refused under its old ID, and is replaced.
func TestWipedMember(t *testing.T) {
	t.Parallel()
	c := start(t, 3)
	load := c.load(2)
	load.more(20)
	lost := c.others(c.leader())[0]
	c.must(lost.Kill())
	c.must(lost.Wipe())
	c.must(lost.Start())
	state, err := lost.AwaitEnd(c.ctx)
	c.must(err)
	want := fmt.Sprintf("--data-dir: %s is empty, but member %x (%q) has run in cluster", lost.DataDir(), lost.ID(), lost.Name)
	if state.Success() || !contains(lost.Log(), want) {
		t.Errorf("a wiped member that was started with its old flags ended with %v, and without saying %q:\n%s", state, want, lost.Log())
	}
	load.more(20)
	c.must(c.Replace(c.ctx, lost))
	load.more(20)
	load.check()
}

// TestMoveLeader moves leadership to each member by command.
func TestMoveLeader(t *testing.T) {
	t.Parallel()
	c := start(t, 3)
	load := c.load(2)
	for _, to := range c.Members() {
		c.await("transfer of the leadership to "+to.Name, func() bool {
			from := c.leader()
			if from == to {
				return true
			}
			got, _, exit := c.etcdctl([]*fleet.Member{from}, "ETCDCTL_API=3", fmt.Sprintf("move-leader %x", to.ID()))
			if exit != 0 {
				return false // from no longer leads
			}
			if want := fmt.Sprintf("Leadership transferred from %x to %x\n", from.ID(), to.ID()); got != want {
				t.Errorf("move-leader printed %q, want %q", got, want)
			}
			return true
		})
		load.more(10)
	}
	load.check()
}

// TestLearnerAutoPromote: with the flag set, a learner is promoted automatically once it has caught
// up.
func TestLearnerAutoPromote(t *testing.T) {
	t.Parallel()
	c := start(t, 1, "--learner-auto-promote")
	client := c.client(c.Members()...)
	c.put(client, "/before", "the learner")
	learner, err := c.Add(c.ctx, true)
	c.must(err)
	c.await("the learner's promotion", func() bool {
		ctx, cancel := context.WithTimeout(c.ctx, 5*time.Second)
		defer cancel()
		list, err := client.MemberList(ctx)
		if err != nil {
			// the client's only endpoint has no leader until two voters have connected
			return false
		}
		for _, m := range list.Members {
			if m.ID == learner.ID() {
				return !m.IsLearner
			}
		}
		return false
	})
	c.must(learner.AwaitHealthy(c.ctx))
	if got := c.get(c.client(learner), "/before"); got != "the learner" {
		t.Errorf("the promoted member reads %q", got)
	}
	c.equal()
}
