package members

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"cairn/test/harness"
)

// TestLostLearner loses a learner that had caught up. The leader still knows how far it was, so
// that member replace must ask the learner itself, and member promote warns.
func TestLostLearner(t *testing.T) {
	c := start(t)
	client := c.dial(c.all...)
	learner := &member{name: "n4", client: "http://" + free(t), peer: "http://" + free(t), log: &harness.Buffer{}}
	added := c.addLearner(client, learner)
	c.all = append(c.all, learner)
	c.run(learner, "ETCD_NAME=n4", "ETCD_INITIAL_ADVERTISE_PEER_URLS="+learner.peer, "ETCD_INITIAL_CLUSTER="+c.peers+",n4="+learner.peer, "ETCD_INITIAL_CLUSTER_STATE=existing")
	c.eventually("the learner's data and client URL", func(ctx context.Context) error {
		_, err := c.dial(learner).Get(ctx, "k", clientv3.WithSerializable())
		members, err1 := client.MemberList(ctx)
		if err = errors.Join(err, err1); err != nil {
			return err
		}
		for _, m := range members.Members {
			if m.ID == added.Member.ID && len(m.ClientURLs) > 0 {
				return nil
			}
		}
		return errors.New("it has not published its client URL")
	})
	learner.kill()
	must(t, os.RemoveAll(filepath.Join(c.dir, learner.name)))

	proc, out := c.replace("n4", "--wait", "2s")
	state, err := proc.Await(c.ctx)
	if err != nil || state.ExitCode() != 5 || !strings.Contains(out.String(), fmt.Sprintf("learner %x does not answer at %s", added.Member.ID, learner.client)) {
		t.Errorf("replace: %v, %v\n%s", state, err, out)
	}
	members, err := client.MemberList(c.ctx)
	must(t, err)
	for _, m := range members.Members {
		if m.ID == added.Member.ID && !m.IsLearner {
			t.Error("a learner that does not run was promoted")
		}
	}
	// As in etcd the server may promote it.
	if text := c.control("member", "promote", fmt.Sprintf("%x", added.Member.ID)); !strings.Contains(text, "does not answer at "+learner.client) {
		t.Errorf("promote does not warn:\n%s", text)
	}
}

// TestUnhealthyCluster adds a member while another one is down: the error names it.
func TestUnhealthyCluster(t *testing.T) {
	c := start(t)
	down := c.all[2]
	down.kill()
	c.eventually("put without n3", func(ctx context.Context) error {
		_, err := c.dial(c.all[:2]...).Put(ctx, "k", "2")
		return err
	})
	c.eventually("refused addition", func(context.Context) error { // a busy machine may have no leader for a moment
		text := c.control("member", "add", "n4", "--peer-urls", "http://127.0.0.1:1")
		for _, want := range []string{"Error: etcdserver: unhealthy cluster\n", "member n3 (", down.client + ": connection refused"} {
			if !strings.Contains(text, want) {
				return fmt.Errorf("member add does not print %q:\n%s", want, text)
			}
		}
		return nil
	})
}

// control runs etcdctl with the first member and returns what it prints.
func (c *cluster) control(args ...string) string {
	cmd := exec.CommandContext(c.ctx, harness.Etcdctl(c.t), args...)
	cmd.Env = append(append(os.Environ(), harness.Patience...), "ETCDCTL_API=3", "ETCDCTL_ENDPOINTS="+c.all[0].client)
	text, _ := cmd.CombinedOutput() // the exit status is not tested
	return string(text)
}
